"""Tasks on single shards, as engines run them: measure, reread, write. Nothing here may look at all shards."""
