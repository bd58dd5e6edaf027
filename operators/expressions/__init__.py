"""The expressions of rules: syntax, compilation, and evaluation by DuckDB. No rule, no file, no network."""
