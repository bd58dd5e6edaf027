"""Curate text corpora into training data: measure every document once, decide globally, write versioned Parquet."""
