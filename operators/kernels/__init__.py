"""Loops over Arrow buffers, compiled by numba. No config, no schema, no logging here."""
