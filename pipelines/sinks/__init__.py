"""Sinks: rows to output files. Nothing here decides about documents or knows where a dataset lies in a store."""
