"""Labelling by language models, the pure part: answers, prompts, cutting, samples. No engine, no file, no network."""
