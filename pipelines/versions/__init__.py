"""Versions of datasets: published and gone back to, compared, refreshed every night, collected."""
