"""Files, engines and people: layers from `storage` to `cli`, see docs/design.md."""
