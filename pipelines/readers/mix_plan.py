"""Plans of mixtures: how many sequences of which packed datasets, from a YAML file of weights or tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from gristmill.operators.base import PositiveCount
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.mistakes import Mistakes, Section
from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.readers.mixed_order import MixedOrder
from gristmill.pipelines.readers.mixture import FORMAT, manifest_digest, part_order
from gristmill.pipelines.readers.packed_order import PackedOrder
from gristmill.pipelines.readers.packed_tokens import PackedTokens
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.locations import absolute, folder_of

USAGE = "`gristmill mix MIX.yaml` takes the path of a YAML file"
#: Passes over the same tokens that are worth almost as much as new ones: Muennighoff et al. 2023, "Scaling
#: Data-Constrained Language Models", https://arxiv.org/abs/2305.16264.
CHEAP_EPOCHS = 4
#: What two datasets have to agree in, so that their sequences can be of one mixture.
ALIKE = {"tokenizer": "the digest of its tokenizer is", "dtype": "its tokens are", "eos": "its end-of-text token is"}


class MixedDataset(Section):
    """A dataset in a mixture."""

    dataset: str = Field(min_length=1, description="its folder, such as store/datasets/web")
    version: str | None = Field(default=None, description="name, number or tag; by default the one that readers take")
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="its share of the tokens, or")
    tokens: PositiveCount | None = Field(default=None, description="how many of the tokens are of it")
    epochs: float = Field(default=1, gt=0, le=100, description="how often its tokens may be read, at most")

    @model_validator(mode="after")
    def _one_of_two(self) -> MixedDataset:
        if (self.weight is None) == (self.tokens is None):
            raise ValueError("give `weight` or `tokens`, one of them")
        return self


class MixtureOptions(Section):
    """The YAML file of a mixture."""

    version: Literal[1] = Field(description="version of this format")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the mixture")
    length: int = Field(gt=0, description="tokens of a sequence, at most: that of all datasets")
    tokens: PositiveCount | None = Field(default=None, description="tokens in all")
    seed: int = Field(default=0, ge=0, lt=1 << 64, description="of the order")
    window: int = Field(default=16, gt=0, description="shards of a dataset that are read mixed with each other")
    parts: tuple[MixedDataset, ...] = Field(min_length=1, description="the datasets")

    @model_validator(mode="after")
    def _tokens_add_up(self) -> MixtureOptions:
        given = sum(part.tokens or 0 for part in self.parts)
        weighted = any(part.weight is not None for part in self.parts)
        if weighted and self.tokens is None:
            raise ValueError("parts have weights: say with `tokens` what the mixture has in all")
        if weighted and self.tokens is not None and self.tokens <= given:
            raise ValueError(f"the `tokens` of parts are {given:,} together, and leave none for parts with weights")
        if not weighted and self.tokens not in (None, given):
            raise ValueError(f"the `tokens` of parts are {given:,} together: leave out those of the mixture")
        return self

    def asked(self) -> list[Fraction]:
        """Return the tokens that are asked for of each part: those with weights share what the others leave."""
        left = (self.tokens or 0) - sum(part.tokens or 0 for part in self.parts)
        weights: list[Fraction] = [Fraction(part.weight or 0) for part in self.parts]
        unit = left / (sum(weights) or Fraction(1))
        return [(part.tokens or 0) + weight * unit for part, weight in zip(self.parts, weights, strict=True)]


@dataclass(frozen=True)
class PlannedPart:
    """The sequences that a mixture takes of a dataset."""

    dataset: str  #: the URL of its folder
    version: str  #: the name of the version
    manifest: str  #: the digest of its manifest
    asked: int  #: tokens that were asked for
    tokens: int  #: tokens that are taken: those of whole sequences
    sequences: int  #: that are taken
    epochs: float  #: how often its tokens are read
    tokens_there: int
    sequences_there: int


@dataclass(frozen=True)
class MixPlan:
    """A plan: which versions are mixed, and how many sequences of each are read."""

    url: str  #: of the plan
    options: MixtureOptions
    tokenizer: str  #: digest of the tokenizer
    dtype: str
    parts: Sequence[PlannedPart]

    @property
    def tokens(self) -> int:
        """Return the tokens of the mixture."""
        return sum(part.tokens for part in self.parts)

    @property
    def sequences(self) -> int:
        """Return the sequences of the mixture."""
        return sum(part.sequences for part in self.parts)

    @property
    def remarks(self) -> list[str]:
        """Return a sentence for each part whose tokens are read more often than is known to cost little."""
        return [
            f"{part.dataset}: {part.epochs:.2f} epochs. Up to {CHEAP_EPOCHS} are worth almost as much as new tokens, "
            "more are worth ever less (Muennighoff et al. 2023, arxiv.org/abs/2305.16264)"
            for part in self.parts
            if part.epochs > CHEAP_EPOCHS
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the plan as it is written."""
        options = self.options
        return {
            "mixture": FORMAT,
            **{name: getattr(options, name) for name in ("name", "length", "seed", "window")},
            "tokenizer": self.tokenizer,
            "dtype": self.dtype,
            "asked": sum(part.asked for part in self.parts),
            "tokens": self.tokens,
            "sequences": self.sequences,
            "parts": [asdict(part) for part in self.parts],
        }

    def write(self) -> None:
        """Write the plan, sealed."""
        files.write_record(self.url, self.to_json())


def plan_mixture(url: str, out: str | None = None) -> MixPlan:
    """Return the plan of a mixture, from its YAML file. Of the datasets it reads manifests and few files beside them.

    `out` is where the plan is to lie, by default beside the YAML file: `mix.json` beside `mix.yaml`.

    Raises RecipeError where the file is wrong, datasets do not go together, or have too few tokens, StoreDamaged where
    one is not what was written.
    """
    to = absolute(out or f"{os.path.splitext(url)[0]}.json", ".")
    if to == absolute(url, "."):
        raise RecipeError(f"the plan would take the place of {url}; name another file: --out FILE")
    document = located_yaml.load(read_text(url, "mixture", USAGE), url)
    if not isinstance(document.value, dict):
        raise RecipeError(f"{document.where(())}: a mixture is a mapping (version: 1, name: ..., parts: ...)")
    mistakes = Mistakes(document)
    try:
        options = MixtureOptions.model_validate(document.value)
    except ValidationError as error:
        mistakes.add_invalid(error, (), MixtureOptions)
    mistakes.raise_if_any()
    opened: list[PackedTokens] = []
    for i, part in enumerate(options.parts):
        with mistakes.noted(("parts", i)):
            packed = PackedTokens(absolute(part.dataset, folder_of(url)), part.version, options.window)
            _check_alike(packed, opened, options.length)
            opened.append(packed)
    mistakes.raise_if_any()
    asked = options.asked()
    for i, (part, packed, tokens) in enumerate(zip(options.parts, opened, asked, strict=True)):
        with mistakes.noted(("parts", i)):
            _check_enough(packed, part.epochs, tokens)
    mistakes.raise_if_any()
    parts: list[PlannedPart] = []
    orders: list[PackedOrder] = []
    for i, (packed, tokens) in enumerate(zip(opened, asked, strict=True)):
        manifest = manifest_digest(packed)
        orders.append(part_order(packed, manifest, options.seed))
        parts.append(_planned(packed, manifest, orders[i], round(tokens)))
        if not parts[i].sequences:
            mistakes.add(("parts", i), f"{in_units(parts[i].asked)} tokens are less than half a sequence: ask for more")
    mistakes.raise_if_any()
    MixedOrder(orders, [part.sequences for part in parts], options.seed)  # it refuses what is too large
    return MixPlan(to, options, opened[0].described["tokenizer"], opened[0].dtype.name, parts)


def _check_alike(packed: PackedTokens, others: Sequence[PackedTokens], length: int) -> None:
    """Raise RecipeError where a dataset does not go with the length of the mixture, or with the other datasets."""
    if packed.length != length:
        raise RecipeError(f"sequences of {packed.url} have {packed.length:,} tokens, those of the mixture {length:,}")
    if not packed.described["tokens"]:
        raise RecipeError(f"{packed.version} of {packed.url} has no tokens")
    for other in others:
        if packed.url == other.url:
            raise RecipeError(
                f"{packed.url} is a part already: its documents would come twice. `epochs` reads it again"
            )
        for name, told in ALIKE.items():
            found, wanted = packed.described[name], other.described[name]
            if found != wanted:
                raise RecipeError(
                    f"{packed.url} does not go with {other.url}: {told} {found}, and there {wanted}. Pack both with "
                    "one tokenizer, and one `eos`"
                )


def _check_enough(packed: PackedTokens, epochs: float, tokens: Fraction) -> None:
    """Raise RecipeError where a dataset has too few tokens, also when they are read as often as they may be."""
    there = packed.described["tokens"]
    if tokens <= Fraction(epochs) * there:
        return
    needed = float(tokens / there)
    raise RecipeError(
        f"{packed.url} has {there:,} tokens, and {round(tokens):,} of it are asked for, which takes {needed:.4g} "
        f"epochs; `epochs` allows {epochs:g}. Allow more, or ask for fewer tokens"
    )


def _planned(packed: PackedTokens, manifest: str, order: PackedOrder, asked: int) -> PlannedPart:
    sequences, tokens = _nearest(packed, order, asked)
    there = packed.described["tokens"]
    named = (packed.url, packed.version, manifest)
    return PlannedPart(*named, asked, tokens, sequences, tokens / there, there, len(packed))


def _nearest(packed: PackedTokens, order: PackedOrder, asked: int) -> tuple[int, int]:
    """Return how many sequences of an order have as nearly as possible so many tokens, and how many these are.

    Sequences are of different lengths where they are not full: whole windows are counted by the manifest, and of the
    last one the lengths are read.
    """
    shards = packed.described["shards"]
    epoch, left = divmod(asked, packed.described["tokens"])
    if not left:
        return epoch * order.total, asked
    for window in order.windows(epoch):
        of_window = sum(shards[shard]["tokens"] for shard in window.shards.tolist())
        if left < of_window:
            break
        left -= of_window
    first = epoch * order.total + window.first
    of_shard, rows = order.places(np.arange(first, first + window.total))
    lengths = np.empty(len(rows), np.int64)
    for shard in window.shards.tolist():
        lengths[of_shard == shard] = packed.lengths(shard)[rows[of_shard == shard]]
    ends = np.append(0, np.cumsum(lengths))
    taken = int(np.argmin(np.abs(ends - left)))
    return first + taken, asked - left + int(ends[taken])
