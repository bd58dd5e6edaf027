"""One document read by itself: what the views say of it, from the files of its own shard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gristmill
from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.report.explain import document_at, explain
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.shown import shown_versions
from tests.pipelines.html.corpus import write_corpus

pytestmark = pytest.mark.xdist_group("reports")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("rows")
    gristmill.run(write_corpus(folder))
    return str(folder / "store")


def asked(store: str, sql: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = gristmill.query(store, sql).to_pylist()
    return rows


def test_a_document_is_what_the_views_say_of_it(store: str) -> None:
    shown = shown_versions(RunRecords(store), {})
    documents = {row["address"]: row for row in asked(store, "FROM documents")}
    decisions = {row.pop("address"): row for row in asked(store, "SELECT * FROM decisions")}
    clusters = {row.pop("address"): row for row in asked(store, "SELECT * EXCLUDE (dataset) FROM clusters")}
    assert len(documents) == 320
    assert len(clusters) == 16
    for address in [*clusters, *[*documents][::16]]:
        found = document_at(store, shown, address)
        assert found is not None
        assert {name: found[name] for name in documents[address]} == pytest.approx(documents[address], nan_ok=True)
        (fate,) = found["fates"]
        known = {name: value for name, value in decisions[address].items() if name not in ("id", "survivor_id")}
        assert {name: fate[name] for name in known} == known
        assert fate.get("survivor_id") == decisions[address]["survivor_id"]
        own = [clusters[address]] if address in clusters else []
        assert [
            {name: cluster[name] for name in known_of} for cluster, known_of in zip(fate["clusters"], own, strict=True)
        ] == own
    for address in (80, 4 << 32, 2**63):
        assert document_at(store, shown, address) is None


def test_no_file_is_read_but_those_of_its_shard_and_those_with_ids(store: str) -> None:
    run = RunRecords(store).newest()
    damaged = Path(run.decisions(3))
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1])
    try:
        (document,) = explain(store, "doc-0-00015")
        assert document["fates"][0]["kept"]
        with pytest.raises(StoreDamaged, match="decisions"):
            explain(store, "doc-0-00315")
    finally:
        damaged.write_bytes(content)
