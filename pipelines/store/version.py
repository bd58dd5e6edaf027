"""The version of the results, which is part of what a dataset depends on."""

#: The version of gristmill since which the same recipe, sources and history give the same dataset. Raise it when rules
#: decide or files are written differently: datasets are then written again. Measures have versions of their own.
RESULTS = "0.1.0"
