"""Measures: documents to columns, same rows. They drop and change nothing and look at no other document."""
