"""The backend `http`: a model behind an OpenAI-compatible endpoint."""
