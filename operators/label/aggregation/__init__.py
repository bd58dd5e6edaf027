"""From many labels of an item to one: votes, methods that weigh annotators, agreement, comparisons."""
