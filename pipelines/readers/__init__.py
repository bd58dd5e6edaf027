"""A dataset for programs that read it: as tables, as a stream of rows for training. Nothing here writes."""
