"""Fuzzy deduplication of all shards, from signatures to clusters; no text is read here."""
