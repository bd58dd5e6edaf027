"""Stages of a run: measure, decide, label, write, commit. Work on single shards belongs in shard_tasks."""
