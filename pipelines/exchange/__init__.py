"""The keyed exchange: rows of many tasks to many others, over files. Nothing here knows what the rows are."""
