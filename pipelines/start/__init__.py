"""Starting out: a look at the data of a newcomer, a recipe for them, checks of a machine. Nothing here changes data."""
