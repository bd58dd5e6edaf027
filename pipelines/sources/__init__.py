"""Sources: finding shards and reading documents out of them, whatever format and store they are in."""
