"""Training of models that measures use, and reports on them. Nothing here reads or writes a store."""
