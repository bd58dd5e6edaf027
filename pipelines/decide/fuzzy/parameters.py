"""Parameters of fuzzy deduplication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Edges that are united in memory: 16 bytes each, and about eight times as much while they are united.
EDGE_BUDGET = 1 << 22


@dataclass(frozen=True)
class Parameters:
    """Settings of the steps from signatures to candidates, from these to clusters, and to survivors. Picklable."""

    column: str  #: of the signatures, binary(2 * permutations)
    bands: int  #: keys of a signature
    rows: int  #: lanes that a key is made of; lanes left over are in no key
    threshold: float  #: least similarity at which documents count as similar
    verify: Literal["none", "signature", "text"]  #: with none, every pair that shares a band is similar
    keep: str = "first"  #: the keep-policy, as `gristmill.operators.rules.keep` has it
    edge_budget: int = EDGE_BUDGET  #: with more edges, components are found over the exchange

    @property
    def verified(self) -> bool:
        """Return whether candidates are compared."""
        return self.verify != "none"
