"""What fuzzy deduplication is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Edges that are united in memory: 16 bytes each, and about eight times as much while they are united.
EDGE_BUDGET = 1 << 22


@dataclass(frozen=True)
class Parameters:
    """How signatures become candidates, candidates become clusters, and who of a cluster survives. Picklable."""

    column: str  #: of the signatures, binary(2 * permutations)
    bands: int  #: keys of a signature
    rows: int  #: lanes that a key is made of; lanes left over are in no key
    threshold: float  #: similarity from which documents are alike
    verify: Literal["none", "signature", "text"]  #: with none, every pair that shares a band is alike
    keep: str = "first"  #: the keep-policy, as `gristmill.operators.rules.keep` has it
    edge_budget: int = EDGE_BUDGET  #: with more edges, components are found over the exchange

    @property
    def verified(self) -> bool:
        """Return whether candidates are compared."""
        return self.verify != "none"
