"""Progress: consoles, live lines, and shards being read. Nothing here decides what is done or computes a result."""
