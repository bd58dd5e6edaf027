"""Changes to the indexes of a store: new generations, recovery, upkeep, export. Their format belongs in `store`."""
