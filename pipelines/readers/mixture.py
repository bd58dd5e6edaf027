"""`gristmill.open_mixture`: packed tokens of several datasets for training, mixed as a plan says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError, StoreDamaged
from gristmill.pipelines.readers.mixed_order import MixedOrder
from gristmill.pipelines.readers.packed_feed import PackedFeed
from gristmill.pipelines.readers.packed_order import Ints, PackedOrder
from gristmill.pipelines.readers.packed_tokens import PackedSequence, PackedTokens
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import MANIFEST
from gristmill.pipelines.storage.locations import absolute

#: The format of plans.
FORMAT = 1


class Mixture:
    """The packed tokens of several datasets, so many sequences of each, in an order that the plan's seed decides.

    Nothing is copied: sequences are read where their datasets lie, as by `PackedTokens`.
    """

    def __init__(self, url: str) -> None:
        """Open the plan that `gristmill mix` wrote.

        Raises RecipeError where there is none, or a dataset is not the one that was planned, StoreDamaged where the
        plan is not what was written.
        """
        #: the URL of the plan
        self.url = absolute(url, ".")
        #: what the plan tells: name, tokens, sequences, parts with their datasets, versions, tokens, epochs ...
        self.described = read_plan(self.url)
        #: the packed tokens of each part
        self.parts = _opened(self.described["parts"], self.described["window"], self.url)
        #: tokens of a sequence, at most
        self.length: int = self.described["length"]
        #: uint16 or uint32
        self.dtype = np.dtype(self.described["dtype"])
        #: the id that fills sequences up where they are shorter than others of a batch
        self.fill = self.parts[0].fill
        found = zip(self.parts, self.described["parts"], strict=True)
        orders = [part_order(part, told["manifest"], self.described["seed"]) for part, told in found]
        counts = [part["sequences"] for part in self.described["parts"]]
        self._order = MixedOrder(orders, counts, self.described["seed"])

    def __repr__(self) -> str:
        tokens, parts = self.described["tokens"], len(self.parts)
        return f"<mixture {self.url}: {tokens:,} tokens in {len(self):,} sequences of {parts} datasets>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Mixture, (self.url,)

    def __len__(self) -> int:
        return self._order.total

    def at(self, parts: Ints, shards: Ints, rows: Ints) -> list[PackedSequence]:
        """Return sequences (n) by their parts, their shards there and their numbers in these (n each).

        Raises StoreDamaged where one is not whole.
        """
        sequences = np.empty(len(parts), object)
        for number in np.unique(parts).tolist():
            of_part = np.flatnonzero(parts == number)
            for i, sequence in zip(of_part, self.parts[number].at(shards[of_part], rows[of_part]), strict=True):
                sequence.part = number
                sequences[i] = sequence
        return list(sequences)

    def feed(self, *, rank: int = 0, world: int = 1, state: Mapping[str, Any] | None = None) -> PackedFeed:
        """Return the sequences for one of `world` ranks, in the order of the plan, to its end.

        `state` is one that a feed of the same plan gave, of whatever rank and number of ranks: the feed goes on from
        there. Raises RecipeError where it is of another plan.
        """
        decided = {name: self.described[name] for name in ("length", "seed", "window")}
        told = zip(self.parts, self.described["parts"], strict=True)
        parts = [
            [part["manifest"], part["sequences"], *([] if packed.where is None else [packed.strata_digest])]
            for packed, part in told
        ]
        same = {"mixture": self.described["name"], "plan": digest_of([decided, parts])}
        return PackedFeed(self, self._order, same, rank, world, 1, state)


def part_order(packed: PackedTokens, manifest: str, seed: int) -> PackedOrder:
    """Return the order in which a mixture of this seed reads a part, whichever its place among the parts."""
    strata = 0 if packed.where is None else int(packed.strata_digest[:16], 16)
    return packed.order(seed ^ int(manifest[:16], 16) ^ strata)


def manifest_digest(packed: PackedTokens) -> str:
    """Return the digest of the manifest of the version that was opened: 32 hexadecimal digits."""
    return files.digest(files.join(packed.url, packed.version, MANIFEST))


def read_plan(url: str) -> dict[str, Any]:
    """Return the plan of a mixture. Raises RecipeError where there is none, StoreDamaged where it is another."""
    advice = "`gristmill mix MIX.yaml` writes it"
    try:
        plan = files.read_record(url)
    except FileNotFoundError:
        raise RecipeError(f"there is no plan of a mixture at {url}; {advice}") from None
    except StoreDamaged as error:
        raise StoreDamaged(url, f"{url} is no whole plan of a mixture; {advice}") from error
    if plan.get("mixture") != FORMAT:
        raise RecipeError(f"{url} is no plan of a mixture that this version of gristmill reads; {advice}")
    return plan


def _opened(parts: Sequence[Mapping[str, Any]], window: int, plan: str) -> list[PackedTokens]:
    """Open the tokens of parts. Each version is opened once, however many parts are strata of it."""
    versions: dict[tuple[str, str], tuple[PackedTokens, str]] = {}
    opened = []
    for part in parts:
        named = (part["dataset"], part["version"])
        if named not in versions:
            packed = PackedTokens(*named, window)
            versions[named] = packed, manifest_digest(packed)
        packed, now = versions[named]
        if now != part["manifest"]:
            raise RecipeError(
                f"{packed.version} of {packed.url} is not what {plan} was made of: its manifest has the digest {now}, "
                f"not {part['manifest']}. `gristmill mix` makes a plan of what is there now, which is another mixture"
            )
        opened.append(packed.only(part["where"]))
    return opened
