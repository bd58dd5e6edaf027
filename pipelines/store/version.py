"""The version of the code, which is part of what a dataset depends on."""

import importlib.metadata

try:
    VERSION = importlib.metadata.version("gristmill")
except importlib.metadata.PackageNotFoundError:  # a working folder that was sent to a cluster, not installed
    VERSION = "0+source"
