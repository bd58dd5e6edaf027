"""Recipes as jobs of a Ray cluster: the files that are sent, the environment of the job, the cluster's side of it."""
