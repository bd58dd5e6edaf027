"""What is done to the indexes of a store: runs add generations to them, people look after them."""
