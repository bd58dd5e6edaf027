"""The store: files that a run leaves for later runs, and its lock. Nothing here measures, decides or writes texts."""
