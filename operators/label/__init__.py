"""Labelling by language models, the pure part: answers, prompts, cutting, samples. No backend, no file, no network."""
