"""Comparison of two versions of a dataset: which documents came and went, why, and how the measures moved.

Documents are the same where their texts are, as read: a file that was moved, or written again, changes nothing here. A
text that a version holds several times counts as often.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import duckdb
import yaml

from gristmill.operators.errors import GristmillError
from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.recipe.recipe import WITHDRAWN
from gristmill.pipelines.report.query import connect_versions, rows
from gristmill.pipelines.report.stored_texts import stored_texts
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.versions.example_texts import held_texts
from gristmill.pipelines.versions.profile import Drift, Profile, drifts, profile

EXCERPT, PAGE_EXCERPT = 160, 600  # characters, of a text on the console and on a page
#: The kept documents of each version, the n-th of a text apart from the others; and those of one side alone.
_PREPARE = """
    CREATE TEMP TABLE {side}kept AS
    SELECT content_id, row_number() OVER (PARTITION BY content_id ORDER BY address) AS nth, address, id, source, tokens
    FROM {side}documents JOIN (SELECT address FROM {side}decisions WHERE kept) USING (address)
"""
_ALONE = """
    CREATE TEMP TABLE {side}alone AS
    SELECT k.*, o.rule AS reason
    FROM {side}kept k ANTI JOIN {other}kept USING (content_id, nth)
    LEFT JOIN (
        SELECT content_id, arg_min(rule, address) AS rule
        FROM {other}documents JOIN (SELECT address, rule FROM {other}decisions WHERE NOT kept) USING (address)
        GROUP BY content_id
    ) o USING (content_id)
"""


@dataclass(frozen=True)
class Moves:
    """Number of documents and tokens that came or went for one reason."""

    name: str | None  #: the rule that drops them in the other version; None where they are not among its documents
    documents: int
    tokens: int


@dataclass(frozen=True)
class Comparison:
    """The difference of two versions: what one holds and the other does not."""

    dataset: str
    versions: tuple[str, str]
    documents: tuple[int, int]
    tokens: tuple[int, int]
    came: Sequence[Moves]  #: by why they were not in the first
    went: Sequence[Moves]  #: by why they are not in the second
    sources: Mapping[str, Mapping[str, int]]  #: documents and tokens of each, before, after, came, went
    measures: Sequence[Drift]  #: the largest PSI first
    recipe: Sequence[str]  #: lines of the recipe that differ, as `diff` shows them
    examples: Mapping[str, Sequence[Mapping[str, Any]]]  #: some that came and went, with the beginning of their texts
    profiles: tuple[Profile, ...] = field(repr=False, default=())  #: of both versions; `to_json` leaves them out

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(replace(self, profiles=()))
        del values["profiles"]
        return values


def compare(
    store: str, name: str, first: str, second: str | None = None, examples: int = 3, characters: int = EXCERPT
) -> Comparison:
    """Compare two versions of a dataset, named by themselves or by tags; the second by default the one readers take.

    Nothing is read but decisions and measures, and the texts of the examples, of which so many `characters` are told: a
    text whose file is gone, as that of a withdrawn document, is the one that the version holds (`held`).

    Raises RecipeError where there is no such version, or the records of the runs that made it are gone.
    """
    dataset = Dataset(store, name)
    versions = dataset.find(first), dataset.find(second)
    records = RunRecords(store)
    standing = [records.of_version(dataset, version) for version in versions]
    connection = connect_versions(store, dict(zip(("a_", "b_"), standing, strict=True)))
    for side in ("a_", "b_"):
        connection.execute(_PREPARE.format(side=side))
    for side, other in (("a_", "b_"), ("b_", "a_")):
        connection.execute(_ALONE.format(side=side, other=other))
    profiles = [profile(runs) for runs in standing]
    return Comparison(
        name,
        (versions[0].name, versions[1].name),
        _pair(profiles, "documents"),
        _pair(profiles, "tokens"),
        _moves(connection, "b_"),
        _moves(connection, "a_"),
        _sources(connection, profiles),
        drifts(profiles[0], profiles[1]),
        _recipe_lines(*versions),
        {
            "came": _examples(connection, "b_", standing[1], versions[1], examples, characters),
            "went": _examples(connection, "a_", standing[0], versions[0], examples, characters),
        },
        tuple(profiles),
    )


def _pair(profiles: Sequence[Profile], what: str) -> tuple[int, int]:
    first, second = (sum(getattr(profile, what).values()) for profile in profiles)
    return first, second


def _moves(connection: duckdb.DuckDBPyConnection, side: str) -> list[Moves]:
    sql = f"SELECT reason, count(*), sum(tokens)::BIGINT FROM {side}alone GROUP BY 1 ORDER BY 2 DESC, 1"
    return [Moves(*row.values()) for row in rows(connection, sql).to_pylist()]


def _sources(connection: duckdb.DuckDBPyConnection, profiles: Sequence[Profile]) -> dict[str, dict[str, int]]:
    moved = {}
    for what, side in (("came", "b_"), ("went", "a_")):
        sql = f"SELECT source, count(*) AS n FROM {side}alone GROUP BY source"
        moved[what] = {row["source"]: row["n"] for row in rows(connection, sql).to_pylist()}
    return {
        source: {
            **{
                f"documents_{at}": p.documents.get(source, 0)
                for at, p in zip(("before", "after"), profiles, strict=True)
            },
            **{f"tokens_{at}": p.tokens.get(source, 0) for at, p in zip(("before", "after"), profiles, strict=True)},
            **{what: moved[what].get(source, 0) for what in moved},
        }
        for source in sorted({*profiles[0].documents, *profiles[1].documents})
    }


def _examples(
    connection: duckdb.DuckDBPyConnection,
    side: str,
    standing: Sequence[Standing],
    version: Version,
    n: int,
    characters: int,
) -> list[dict[str, Any]]:
    """Return some documents of one side alone, spread over the reasons, chosen by hashes of their texts."""
    sql = f"""
        WITH ranked AS (
            SELECT *, row_number() OVER (PARTITION BY reason ORDER BY hash(content_id), address) AS turn
            FROM {side}alone
        )
        SELECT address, content_id, id, source, tokens, reason FROM ranked ORDER BY turn, reason LIMIT ?
    """
    found: list[dict[str, Any]] = rows(connection, sql, n).to_pylist()
    lost = []
    for document in found:
        try:
            texts = stored_texts(standing, [document["address"]], connection, f"{side}documents")
            document["excerpt"] = excerpt(texts[document["address"]], characters)
        except (GristmillError, OSError) as error:  # its file is gone or another one since
            document["excerpt"], document["unreadable"] = None, _unreadable(document, version, error)
            lost.append(document)
    held = held_texts(version, lost)
    for document in lost:
        if (text := held.get(document["address"])) is not None:
            document |= {"excerpt": excerpt(text, characters), "held": True}
            del document["unreadable"]
    for document in found:
        del document["content_id"]
    return found


def _unreadable(document: Mapping[str, Any], version: Version, error: Exception) -> str:
    """Return why the text of an example is not told."""
    if document["reason"] == WITHDRAWN:
        return f"it was withdrawn, and the files of {version.name} do not hold its text"
    return str(error)


def _recipe_lines(before: Version, after: Version) -> list[str]:
    first, second = (
        yaml.safe_dump(version.manifest["recipe"], sort_keys=False, allow_unicode=True).splitlines()
        for version in (before, after)
    )
    return list(difflib.unified_diff(first, second, before.name, after.name, lineterm="", n=1))
