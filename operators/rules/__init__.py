"""Rules: columns to keep or drop, one table at a time. Nothing that looks at all shards: see pipelines/decide/rules."""
