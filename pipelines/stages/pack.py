"""Packed tokens of a version: handed on while its texts are written, packed afterwards, listed by its manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.pack import Pack, token_type
from gristmill.operators.strata import Stratification, cut_text
from gristmill.operators.tokenizer import TextTokenizer
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.exchange.shuffle import Exchange
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.shard_tasks.pack import Packing, PackPartition, fill_of, pack_partition, schema_of
from gristmill.pipelines.shard_tasks.strata import PackedStrata
from gristmill.pipelines.shard_tasks.write import RECEIPTS, ShardSurvivors, WriteReceipt, WriteTask
from gristmill.pipelines.sinks.tokens import TokenCounts, TokenShard
from gristmill.pipelines.stages.strata import check_strata_packed, listed_strata
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Version
from gristmill.pipelines.store.resources import ReadyOperator


@contextmanager
def packing_for(
    plan: Plan,
    version: Version,
    survivors: Sequence[ShardSurvivors],
    strata: PackedStrata | None,
    engine: Engine,
) -> Iterator[Packing | None]:
    """Hold a place for exchanged tokens; None where the recipe packs none.

    It is beside the receipts of the version's write tasks, so that a later run goes on from both; on the local disk
    where the version is not on this machine and all workers are threads of this process. There are as many partitions
    as files of texts, so that a pack task holds about as much text as one of those, in tokens; of each stratum at least
    one.
    """
    if plan.pack is None:
        yield None
        return
    schema = schema_of(plan.pack.open())
    partitions = max(1, round(sum(s.text_bytes for s in survivors) / plan.loaded.recipe.write.shard_bytes))
    if strata is not None:
        partitions = sum(strata.partitions)
    if engine.name == "local" and not files.is_local(version.url):
        with tempfile.TemporaryDirectory(prefix="gristmill-") as own:
            yield Packing(plan.pack, Exchange(own, partitions, schema), strata)
        return
    yield Packing(plan.pack, Exchange(files.join(version.url, RECEIPTS, "exchange"), partitions, schema), strata)


def pack_tokens(
    packing: Packing,
    version: Version,
    tasks: Sequence[WriteTask],
    receipts: Sequence[WriteReceipt],
    engine: Engine,
    reporter: Reporter,
) -> list[TokenShard]:
    """Pack what the write tasks handed on; return the shards, in order.

    Raises FatalError where they do not hold every document and token that was handed on.
    """
    senders = tuple(task.first_file for task in tasks)
    place = files.join(version.url, RECEIPTS)
    outcomes = []
    with reporter.stage("pack", packing.exchange.partitions, "file") as stage:
        packing = replace(packing, exchange=packing.exchange.merged(senders, engine))
        items = [PackPartition(packing, senders, n, version.url, place) for n in range(packing.exchange.partitions)]
        for outcome in engine.map(pack_partition, items):
            outcomes.append(outcome)
            stage.advance()
    shards = [outcome.unwrap() for outcome in sorted(outcomes, key=lambda o: o.index)]
    total = counted(shards)
    wrote = (sum(file.rows for receipt in receipts for file in receipt.files), sum(r.tokens for r in receipts))
    if (total.documents, total.tokens) != wrote:
        raise FatalError(
            f"{total.tokens:,} tokens of {total.documents:,} documents were packed, {wrote[1]:,} of {wrote[0]:,} were "
            "written; nothing is committed: please report it"
        )
    if packing.strata is not None:
        check_strata_packed(packing.strata, shards)
    return shards


def counted(shards: Sequence[TokenShard]) -> TokenCounts:
    """Return the counts of shards together."""
    names = TokenCounts.__dataclass_fields__
    return TokenCounts(**{name: sum(getattr(shard.counts, name) for shard in shards) for name in names})


def listed(shard: TokenShard, version: Version, stratum: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the entry of a shard in the manifest of the version that wrote it."""
    entry = shard.to_json() | ({} if stratum is None else {"stratum": dict(stratum)})
    return {**entry, "files": [{**file, "path": f"{version.name}/{file['name']}"} for file in entry["files"]]}


def packed(
    ready: ReadyOperator, entries: Sequence[Mapping[str, Any]], of: Stratification | None = None
) -> dict[str, Any]:
    """Return what a manifest tells of packed tokens: how, of which tokenizer, how many, and their shards.

    `of` is what parts the strata, by default the settings alone, whose numbers are cut at numbers then.
    """
    settings: Pack = ready.operator
    tokenizer: TextTokenizer = ready.open()
    return {
        "fingerprint": ready.fingerprint,
        "tokenizer": ready.digests["tokenizer"],
        "vocabulary": tokenizer.vocabulary,
        "dtype": token_type(tokenizer.vocabulary).name,
        "eos": tokenizer.eos if settings.eos else None,
        "fill": fill_of(settings, tokenizer),
        "length": settings.length,
        "split": settings.split,
        "seed": settings.seed,
        **_strata(settings, entries, of),
        **{name: sum(entry[name] for entry in entries) for name in TokenCounts.__dataclass_fields__},
        "shards": [*entries],
    }


def _strata(settings: Pack, entries: Sequence[Mapping[str, Any]], of: Stratification | None) -> dict[str, Any]:
    if not settings.by:
        return {}
    of = of or Stratification(settings.by, {})
    return {"by": of.described(), "strata": listed_strata(entries)}


def packed_summary(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what a manifest tells of packed tokens, but for their shards; None where there are none."""
    if "packed" not in manifest:
        return None
    return {name: value for name, value in manifest["packed"].items() if name != "shards"}


def _by(packed: Mapping[str, Any]) -> str:
    """Return the columns of strata as a recipe has them."""
    told = (
        f"{{{e['column']}: [{', '.join(map(cut_text, e['cuts']))}]}}" if "cuts" in e else e["column"]
        for e in packed["by"]
    )
    return f"[{', '.join(told)}]"


def check_packed_alike(ready: ReadyOperator | None, manifest: Mapping[str, Any], where: str) -> None:
    """Raise RecipeError where a version of earlier nights is not packed as a run is about to pack what is new."""
    before = manifest.get("packed")
    if ready is None or (before is not None and before["fingerprint"] == ready.fingerprint):
        return
    was = "without `pack`"
    if before is not None:
        was = f"as split: {before['split']}, length: {before['length']}, seed: {before['seed']}, eos: " + (
            "false" if before["eos"] is None else "true"
        )
        was += f", by: {_by(before)}" if "by" in before else ""
        was += f", by the tokenizer with the digest {before['tokenizer']}"
    raise RecipeError(
        f"{where}: earlier nights of {manifest['name']} are packed otherwise ({was}), and the tokens of all nights are "
        "one dataset. Give `pack` as it was, or give the recipe and its index other names: all documents are decided "
        "again then, and nothing is measured again"
    )
