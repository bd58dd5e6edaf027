"""Models on a Ray cluster: the backend `vllm`, and workers that each hold a model of `transformers`."""
