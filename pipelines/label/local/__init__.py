"""The backend `transformers`: a model in this process."""
