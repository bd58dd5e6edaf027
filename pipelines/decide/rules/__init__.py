"""Executors of the rules that look at all shards or at `when`. The rules' own fields belong in operators.rules."""
