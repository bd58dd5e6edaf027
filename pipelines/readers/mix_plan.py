"""Plans of mixtures: how many sequences of which packed datasets, from a YAML file of weights or tokens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from pydantic import ValidationError

from gristmill.operators.errors import RecipeError
from gristmill.operators.strata import Value
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.config.located_yaml import Path
from gristmill.pipelines.config.mistakes import Mistakes
from gristmill.pipelines.config.wording import in_short, in_units
from gristmill.pipelines.config.yaml_file import read_text
from gristmill.pipelines.readers.mix_options import MixedDataset, MixtureOptions, Repeat
from gristmill.pipelines.readers.mixed_order import MixedOrder
from gristmill.pipelines.readers.mixture import FORMAT, manifest_digest, part_order
from gristmill.pipelines.readers.packed_order import PackedOrder
from gristmill.pipelines.readers.packed_strata import above, cuts_text, value_text, values_in, values_of, where_text
from gristmill.pipelines.readers.packed_tokens import PackedTokens
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.locations import absolute, folder_of

USAGE = "`gristmill mix MIX.yaml` takes the path of a YAML file"
#: Passes over the same tokens that are worth almost as much as new ones: Muennighoff et al. 2023, "Scaling
#: Data-Constrained Language Models", https://arxiv.org/abs/2305.16264.
CHEAP_EPOCHS = 4
#: What two datasets have to agree in, so that their sequences can be of one mixture.
ALIKE = {"tokenizer": "the digest of its tokenizer is", "dtype": "its tokens are", "eos": "its end-of-text token is"}


@dataclass(frozen=True)
class PlannedPart:
    """The sequences that a mixture takes of a dataset, or of strata of it."""

    dataset: str  #: the URL of its folder
    version: str  #: the name of the version
    manifest: str  #: the digest of its manifest
    where: dict[str, list[Value]] | None  #: values of its strata; None where all are taken
    repeat: float  #: how often they come for each time that others of the same part come once
    asked: int  #: tokens that were asked for
    tokens: int  #: tokens that are taken: those of whole sequences
    sequences: int  #: that are taken
    epochs: float  #: how often its tokens are read
    tokens_there: int
    sequences_there: int

    @property
    def name(self) -> str:
        """Return its dataset and its strata, for people."""
        return self.dataset if self.where is None else f"{self.dataset}, {where_text(self.where)}"


@dataclass(frozen=True)
class MixPlan:
    """A plan: which versions are mixed, and how many sequences of each are read."""

    url: str  #: of the plan
    options: MixtureOptions
    tokenizer: str  #: digest of the tokenizer
    dtype: str
    parts: Sequence[PlannedPart]
    not_held: tuple[str, ...] = ()  #: remarks on versions that `gristmill datasets gc` may remove

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
        """Return a sentence for each part that is read more often than is known to cost little, or may be removed."""
        return [
            *self.not_held,
            *(
                f"{part.name}: {part.epochs:.2f} epochs. Up to {CHEAP_EPOCHS} are worth almost as much as new tokens, "
                "more are worth ever less (Muennighoff et al. 2023, arxiv.org/abs/2305.16264)"
                for part in self.parts
                if part.epochs > CHEAP_EPOCHS
            ),
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
    to = plan_beside(url, out)
    options, mistakes = _loaded(url)
    taken = _opened(options, folder_of(url), mistakes)
    mistakes.raise_if_any()
    asked = options.asked([one.part for one in taken])
    for one, tokens in zip(taken, asked, strict=True):
        with mistakes.noted(one.place):
            one.groups = _groups(one.packed, one.part.repeats)
            _check_enough(one, tokens)
    mistakes.raise_if_any()
    parts: list[PlannedPart] = []
    orders: list[PackedOrder] = []
    for one, tokens in zip(taken, asked, strict=True):
        for times, packed in one.groups:
            orders.append(part_order(packed, one.manifest, options.seed))
            share = tokens * times * packed.described["tokens"] / one.tokens
            parts.append(_planned(packed, one.manifest, orders[-1], round(share), float(times)))
            if not parts[-1].sequences:
                few = f"{in_units(parts[-1].asked)} tokens are less than half a sequence: ask for more"
                mistakes.add(one.place, few if packed.where is None else f"{where_text(packed.where)}: {few}")
    mistakes.raise_if_any()
    MixedOrder(orders, [part.sequences for part in parts], options.seed)  # it refuses what is too large
    first = taken[0].packed
    return MixPlan(to, options, first.described["tokenizer"], first.dtype.name, parts)


def plan_beside(url: str, out: str | None) -> str:
    """Return the URL of the plan of a mixture. Raises RecipeError where it is the YAML file's."""
    to = absolute(out or f"{os.path.splitext(url)[0]}.json", ".")
    if to == absolute(url, "."):
        raise RecipeError(f"the plan would take the place of {url}; name another file: --out FILE")
    return to


def load_options(url: str) -> MixtureOptions:
    """Return what the YAML file of a mixture says. Raises RecipeError with every mistake found, one a line."""
    return _loaded(url)[0]


def _loaded(url: str) -> tuple[MixtureOptions, Mistakes]:
    document = located_yaml.load(read_text(url, "mixture", USAGE), url)
    if not isinstance(document.value, dict):
        raise RecipeError(f"{document.where(())}: a mixture is a mapping (version: 1, name: ..., parts: ...)")
    mistakes = Mistakes(document)
    try:
        return MixtureOptions.model_validate(document.value), mistakes
    except ValidationError as error:
        mistakes.add_invalid(error, (), MixtureOptions)
    mistakes.raise_if_any()
    raise RecipeError(f"{url} is no mixture")  # its mistakes have been raised


@dataclass
class _Taken:
    """A part, and the tokens that it is taken of."""

    place: Path  #: in the YAML file
    part: MixedDataset
    packed: PackedTokens
    manifest: str  #: the digest of its manifest
    groups: Sequence[tuple[Fraction, PackedTokens]] = ()  #: how often strata come for each time that others come once

    @property
    def tokens(self) -> Fraction:
        """Return its tokens, each as often as it comes."""
        return sum((times * packed.described["tokens"] for times, packed in self.groups), Fraction(0))


def _opened(options: MixtureOptions, base: str, mistakes: Mistakes) -> list[_Taken]:
    """Open the tokens of all parts, each version once; note what does not go together."""
    versions: dict[tuple[str, str | None], tuple[PackedTokens, str]] = {}
    taken: list[_Taken] = []
    for i, given in enumerate(options.parts):
        with mistakes.noted(("parts", i)):
            named = (absolute(given.dataset, base), given.version)
            if named not in versions:
                packed = PackedTokens(*named, options.window)
                versions[named] = packed, manifest_digest(packed)
            packed, manifest = versions[named]
            _check_alike(packed, [one.packed for one in taken], options.length)
            packed = packed.only(given.where)
            given = given.model_copy(update={"weight": _by_value(packed, given.by, given.weight)})
            for part in given.parts():
                one = _Taken(("parts", i), part, packed.only(part.where if given.by else None), manifest)
                _check_apart(one, taken, mistakes)
                taken.append(one)
    return taken


def _check_alike(packed: PackedTokens, others: Sequence[PackedTokens], length: int) -> None:
    """Raise RecipeError where a dataset does not go with the length of the mixture, or with the other datasets."""
    if packed.length != length:
        raise RecipeError(f"sequences of {packed.url} have {packed.length:,} tokens, those of the mixture {length:,}")
    if not packed.described["tokens"]:
        raise RecipeError(f"{packed.version} of {packed.url} has no tokens")
    for other in others:
        for name, told in ALIKE.items():
            found, wanted = packed.described[name], other.described[name]
            if found != wanted:
                raise RecipeError(
                    f"{packed.url} does not go with {other.url}: {told} {found}, and there {wanted}. Pack both with "
                    "one tokenizer, and one `eos`"
                )


def _by_value(packed: PackedTokens, by: Sequence[str], weight: Any) -> Any:
    """Return weights of values, which the YAML file gives as text, by the values themselves.

    Raises RecipeError where they leave one out, or name others.
    """
    if not by:
        return weight
    known = values_in(packed.described, by[0], packed.url)
    named = {value_text(value): value for value in known}
    found = {named.get(text, text): inner for text, inner in weight.items()}
    found = {value: _by_value(packed.only({by[0]: value}), by[1:], inner) for value, inner in found.items()}
    if left_out := [value_text(value) for value in known if value not in found]:
        of = "" if packed.where is None else f" where {where_text(packed.where)}"
        raise RecipeError(
            f"{packed.url} has {by[0]} {', '.join(in_short(left_out))} too{of}: give each a weight; 0 leaves it out"
        )
    return found


def _check_apart(one: _Taken, others: Sequence[_Taken], mistakes: Mistakes) -> None:
    """Raise RecipeError where documents of a part are another part's too."""
    packed = one.packed
    for other in others:
        if packed.url != other.packed.url:
            continue
        if packed.version != other.packed.version:
            raise RecipeError(
                f"{packed.url} is a part already, with version {other.packed.version}: many documents would come twice"
            )
        if packed.where is None and other.packed.where is None:
            raise RecipeError(
                f"{packed.url} is a part already: its documents would come twice. `epochs` reads it again"
            )
        theirs = [told["stratum"] for told in other.packed.described["strata"]]
        if both := [told["stratum"] for told in packed.described["strata"] if told["stratum"] in theirs]:
            raise RecipeError(
                f"{packed.url}: documents with {where_text(both[0])} are in the part at "
                f"{mistakes.where(other.place)} too, and would come twice"
            )


def _groups(packed: PackedTokens, repeats: Sequence[Repeat]) -> list[tuple[Fraction, PackedTokens]]:
    """Return strata that come equally often, with how often they do for each time that others come once."""
    if not repeats:
        return [(Fraction(1), packed)]
    column = repeats[0].column
    values = values_in(packed.described, column, packed.url)
    entry = next(entry for entry in packed.described["by"] if entry["column"] == column)
    times: dict[Value, Fraction] = dict.fromkeys(values, Fraction(1))
    for repeat in repeats:
        beyond = above(entry, repeat.bound, repeat.percent)
        if beyond is None:
            where = cuts_text(entry)
            raise RecipeError(
                f"{packed.url} is packed by {column} "
                + (f"cut at {where}, and not where `repeat` says" if where else "as it is, and not cut at numbers")
            )
        times.update({value: Fraction(str(repeat.times)) for value in values if value in beyond})
    if len({*times.values()}) == 1:
        return [(times[values[0]], packed)]
    alike = {often: [value for value in values if times[value] == often] for often in times.values()}
    return [(often, packed.only({column: of})) for often, of in alike.items()]


def _check_enough(one: _Taken, tokens: Fraction) -> None:
    """Raise RecipeError where a dataset has too few tokens, also when they are read as often as they may be."""
    if tokens <= Fraction(one.part.epochs) * one.tokens:
        return
    packed, there = one.packed, one.packed.described["tokens"]
    needed = float(tokens / one.tokens)
    of = packed.url if packed.where is None else f"{packed.url} ({where_text(packed.where)})"
    raise RecipeError(
        f"{of} has {there:,} tokens, and {round(tokens):,} of it are asked for, which takes {needed:.4g} "
        f"epochs; `epochs` allows {one.part.epochs:g}. Allow more, or ask for fewer tokens"
    )


def _planned(packed: PackedTokens, manifest: str, order: PackedOrder, asked: int, repeat: float) -> PlannedPart:
    sequences, tokens = _nearest(packed, order, asked)
    there = packed.described["tokens"]
    where = None if packed.where is None else {column: values_of(of) for column, of in packed.where.items()}
    named = (packed.url, packed.version, manifest, where, repeat)
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
