"""Configuration: YAML with line numbers, overrides, mistakes and wording. Nothing here knows the keys of a recipe."""
