"""The recipe: YAML to a checked description of one run. Nothing here looks into the store or runs anything."""
