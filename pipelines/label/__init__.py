"""Labelling by language models: tasks, annotators, the label store, budgets, runs; no stages, reports or commands."""
