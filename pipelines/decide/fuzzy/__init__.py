"""Fuzzy deduplication of all shards: from signatures to clusters. Nothing here knows what a text is."""

from pipelines.decide.fuzzy.clusters import CLUSTERED, Cluster, Clusters
from pipelines.decide.fuzzy.evidence import Evidence, SignatureEvidence
from pipelines.decide.fuzzy.parameters import Parameters
from pipelines.decide.fuzzy.resolve import resolve
from pipelines.decide.fuzzy.verification import Sample

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
