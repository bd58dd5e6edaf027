"""`gristmill clusters`: clusters of near copies, each dropped document compared with the one kept in its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import duckdb

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.report.query import connect, rows
from gristmill.pipelines.report.stored_texts import stored_texts
from gristmill.pipelines.store.fuzzy_index import id_of
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.store.shown import shown_version

#: The number of documents of a cluster that are shown with their survivors: the least similar ones.
SHOWN_MEMBERS = 3
#: Words of each text that are compared; difflib's time grows with their square.
COMPARED_WORDS = 2000
#: Words shown around a difference, and in all.
CONTEXT_WORDS, SHOWN_WORDS = 6, 120
#: A stretch of a word diff: "=" in both, "-" only in the document kept, "+" only in the one that went, "…" not shown.
Stretch = tuple[str, str]


def clusters(
    store: str,
    dataset: str | None = None,
    largest: int = 5,
    sample: int = 0,
    id: str | None = None,
    version: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return clusters of a dataset, by default that of the newest run: the largest, some by a hash, or those of an id.

    They are of the version that readers take, or of `version`; `tell` gets it as a line. Each has its rule, size and
    survivors, and the members least similar to their survivors with a word diff; the texts are read again. A survivor
    that only the index knows is named, not compared. Raises RecipeError where there is no such run, version, cluster or
    document.
    """
    records = RunRecords(store)
    name = str(records.newest(dataset).record["name"])
    shown = shown_version(records, name, version)
    tell(str(shown))
    if not any("clusters" in rule["details"] for rule in shown.standing[0].run.record["result"]["funnel"]["rules"]):
        raise RecipeError(f"{name} {shown.version} was decided without fuzzy_dedup, which makes clusters")
    connection = connect(store, shown.standing, ("documents", "clusters"))
    result = list(_chosen(connection, name, largest, sample, id))
    if not result and id is not None:
        raise RecipeError(f"no document {id} is in a cluster of {name}; `gristmill explain` tells of any")
    members = [_members(connection, name, cluster) for cluster in result]
    for member in (m for of_cluster in members for m in of_cluster if m["earlier"]):
        member["survivor_id"] = id_of(store, member["survivor"])
    compared = [m for of_cluster in members for m in of_cluster if not m["earlier"]]
    ordinals = {m[name] >> columns.ROW_BITS for m in compared for name in ("address", "survivor")}
    compare_members(store, [stands.only(ordinals) for stands in shown.standing], compared)
    for cluster, of_cluster in zip(result, members, strict=True):
        cluster["members"] = of_cluster
    return result


def compare_members(store: str, standing: Sequence[Standing], members: Sequence[dict[str, Any]]) -> None:
    """Add `diff` to members of clusters: a word diff of each one's text and that of its survivor, both read again.

    `standing` has the shards of them all, and may have no others. Raises as `stored_texts` does.
    """
    addresses = {address for member in members for address in (member["address"], member["survivor"])}
    if addresses:
        texts = stored_texts(standing, addresses, connect(store, standing, ("documents",)))
        for member in members:
            member["diff"] = word_diff(texts[member["survivor"]], texts[member["address"]])


def _chosen(
    connection: duckdb.DuckDBPyConnection, dataset: str, largest: int, sample: int, id: str | None
) -> Iterator[dict[str, Any]]:
    """Yield clusters by rule and smallest address, each once."""
    about = """
        SELECT rule, cluster, max(size) AS size, count(DISTINCT survivor) AS survivors
        FROM clusters WHERE dataset = ? GROUP BY ALL
    """
    if id is not None:
        of_id = "SELECT rule, cluster FROM clusters JOIN documents USING (address) WHERE dataset = ? AND id = ?"
        sql = f"SELECT * FROM ({about}) SEMI JOIN ({of_id}) USING (rule, cluster) ORDER BY ALL"
        yield from rows(connection, sql, dataset, dataset, id).to_pylist()
        return
    keys = set()
    for order, n in (("size DESC", largest), ("hash(cluster)", sample)):
        for cluster in rows(
            connection, f"SELECT * FROM ({about}) ORDER BY {order}, rule, cluster LIMIT ?", dataset, n
        ).to_pylist():
            if (key := (cluster["rule"], cluster["cluster"])) not in keys:
                keys.add(key)
                yield cluster


def _members(connection: duckdb.DuckDBPyConnection, dataset: str, cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the documents of a cluster that are least similar to the survivors that they lost to."""
    sql = """
        SELECT d.id, c.address, c.similarity, c.survivor, s.id AS survivor_id, s.id IS NULL AS earlier
        FROM clusters c JOIN documents d USING (address) LEFT JOIN documents s ON s.address = c.survivor
        WHERE c.dataset = ? AND c.rule = ? AND c.cluster = ? AND c.survivor <> c.address
        ORDER BY c.similarity, c.address LIMIT ?
    """
    members: list[dict[str, Any]] = rows(
        connection, sql, dataset, cluster["rule"], cluster["cluster"], SHOWN_MEMBERS
    ).to_pylist()
    return members


def word_diff(kept: str, lost: str) -> list[Stretch]:
    """Return a diff of the first words of two texts, long stretches in common and all beyond SHOWN_WORDS left out."""
    left, right = kept.split()[:COMPARED_WORDS], lost.split()[:COMPARED_WORDS]
    # The common beginning needs no search, and is most of the text of near copies.
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
    stretches = _compared(left[:same], left[same:], right[same:])
    return list(_shortened(list(stretches)))


def _compared(same: list[str], left: list[str], right: list[str]) -> Iterator[tuple[str, list[str]]]:
    if same:
        yield "=", same
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield "=", left[a:b]
            continue
        if a < b:
            yield "-", left[a:b]
        if c < d:
            yield "+", right[c:d]


def _shortened(stretches: Sequence[tuple[str, list[str]]]) -> Iterator[Stretch]:
    budget = SHOWN_WORDS
    for i, (kind, words) in enumerate(stretches):
        if budget <= 0:
            yield "…", f"… ({plural(sum(len(w) for k, w in stretches[i:] if k != '='), 'more word')} differ)"
            return
        if kind == "=":
            before, after = (CONTEXT_WORDS if i else 0), (CONTEXT_WORDS if i + 1 < len(stretches) else 0)
            if len(stretches) == 1:
                after = 2 * CONTEXT_WORDS
            if len(words) > before + after + 1:
                yield from _part("=", words[:before])
                yield "…", f"… {len(words) - before - after:,} words …"
                yield from _part("=", words[len(words) - after :] if after else [])
            else:
                yield kind, " ".join(words)
            budget -= before + after
        else:
            cut = words[:budget]
            yield kind, " ".join(cut) + (" …" if len(cut) < len(words) else "")
            budget -= len(cut)


def _part(kind: str, words: list[str]) -> Iterator[Stretch]:
    if words:
        yield kind, " ".join(words)
