"""Fuzzy deduplication of all shards: from signatures to clusters. Nothing here knows what a text is."""

from gristmill.pipelines.decide.fuzzy.clusters import CLUSTERED, Cluster, Clusters
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.fuzzy.similarity import Evidence, SignatureEvidence
from gristmill.pipelines.decide.fuzzy.verification import Sample

__all__ = [
    "CLUSTERED",
    "Cluster",
    "Clusters",
    "Evidence",
    "Parameters",
    "Sample",
    "SignatureEvidence",
    "resolve",
]
