"""Labelling by language models: tasks, annotators, the label store, the budget, runs."""
