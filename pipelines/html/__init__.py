"""Pages for a browser: reports, each one file that needs nothing else."""
