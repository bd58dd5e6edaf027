"""`gristmill clusters` and what `explain` says of a cluster: real texts, read again, and how their words differ."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.clusters import clusters, word_diff
from gristmill.pipelines.report.console.documents import rendered
from gristmill.pipelines.report.explain import explain
from tests.pipelines.stages.test_run import execute
from tests.support import sentences, write_jsonl

MakeRecipe = Callable[..., Path]


def document(id: str, text: str) -> dict[str, str]:
    return {"id": id, "text": text, "lang": "en"}


@pytest.fixture
def store(tmp_path: Path, make_recipe: MakeRecipe) -> str:
    """A cluster of three, two of two, and five documents that are alone; texts in two shards."""
    text = {name: sentences(i, 150) for i, name in enumerate("abcdefgh")}
    copies = [document("a2", text["a"] + " tail"), document("a3", "Head " + text["a"]), document("b2", text["b"])]
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [document(name, text[name]) for name in "abcdefgh"])
    write_jsonl(tmp_path / "data" / "docs-1.jsonl", [*copies, document("c2", text["c"].replace("river", "lake", 1))])
    execute(make_recipe(tmp_path, name="near", decide=[{"fuzzy_dedup": {"name": "near"}}]))
    execute(make_recipe(tmp_path, name="plain", decide=["exact_dedup"]))
    return str(tmp_path / "store")


def command(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "80"})
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.output


# Word diffs


@pytest.mark.parametrize(
    ("kept", "lost", "expected"),
    [
        ("a b c", "a b c", "a b c"),
        ("a b c", "a x c", "a [-b-] {+x+} c"),
        ("a  b\nc", "a b c d", "a b c {+d+}"),
        ("a b", "", "[-a b-]"),
        ("", "", ""),
        (" ".join("0123456789") + " x", " ".join("0123456789") + " y", "… 4 words … 4 5 6 7 8 9 [-x-] {+y+}"),
    ],
)
def test_a_word_diff(kept: str, lost: str, expected: str) -> None:
    assert rendered(word_diff(kept, lost), colours=False).plain == expected


def test_a_word_diff_tells_the_truth_and_is_short() -> None:
    draw = random.Random(0)
    for _ in range(50):
        kept = [draw.choice("abc") for _ in range(draw.randrange(12))]
        lost = [draw.choice("abc") for _ in range(draw.randrange(12))]
        diff = [(kind, words.split()) for kind, words in word_diff(" ".join(kept), " ".join(lost))]
        assert [w for kind, words in diff if kind in "=-" for w in words] == kept
        assert [w for kind, words in diff if kind in "=+" for w in words] == lost
    long = word_diff(" ".join(f"a{i}" for i in range(5000)), " ".join(f"b{i}" for i in range(5000)))
    assert sum(len(words.split()) for _, words in long) < 140


# The command


def test_the_largest_come_first(store: str) -> None:
    found = clusters(store, "near")
    assert [(c["rule"], c["size"], c["survivors"]) for c in found] == [("near", 3, 1), ("near", 2, 1), ("near", 2, 1)]
    members = {m["id"]: m for c in found for m in c["members"]}
    assert {id: m["survivor_id"] for id, m in members.items()} == {"a2": "a", "a3": "a", "b2": "b", "c2": "c"}
    assert members["a2"]["diff"][-1] == ("+", "tail")
    assert members["a3"]["diff"][0] == ("+", "Head")
    assert {kind for kind, _ in members["b2"]["diff"]} <= {"=", "…"}
    assert [words for kind, words in members["c2"]["diff"] if kind in "-+"] == ["river", "lake"]


def test_some_by_a_hash_or_by_id(store: str) -> None:
    whole = {c["cluster"] for c in clusters(store, "near")}
    assert {c["cluster"] for c in clusters(store, "near", largest=0, sample=2)} < whole
    assert len(clusters(store, "near", largest=1, sample=9)) == 3
    assert [c["size"] for c in clusters(store, "near", id="a3")] == [3]


def test_wrong_requests(store: str) -> None:
    with pytest.raises(RecipeError, match=r"plain 000001-.* was decided without fuzzy_dedup, which makes clusters"):
        clusters(store)
    with pytest.raises(RecipeError, match="no finished run of the dataset nope"):
        clusters(store, "nope")
    with pytest.raises(RecipeError, match="no document h is in a cluster of near"):
        clusters(store, "near", id="h")


def test_the_page(store: str) -> None:
    lines = command("clusters", "near", "--store", store, "--largest", "1").splitlines()
    assert lines[0] == "cluster 0 of near: 3 documents, 1 survivor"
    assert any(re.match(r"  a2 dropped as a near-duplicate of a \(similarity [01]\.\d{3}\)", line) for line in lines)
    assert any("{+tail+}" in line for line in lines)
    found = json.loads(command("clusters", "near", "--store", store, "--id", "b2", "--json"))
    assert [member["id"] for member in found[0]["members"]] == ["b2"]
    assert "was decided without fuzzy_dedup" in command("clusters", "--store", store, code=2)


# explain


def near_fate(store: str, id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A document, and its fate in the dataset `near`."""
    (found,) = explain(store, id)
    return found, next(fate for fate in found["fates"] if fate["dataset"] == "near")


def test_explain_shows_both_texts(store: str) -> None:
    found, fate = near_fate(store, "a3")
    (cluster,) = fate["clusters"]
    assert (cluster["rule"], cluster["size"], cluster["survivor_id"]) == ("near", 3, "a")
    assert cluster["similarity"] == pytest.approx(fate["value"])
    text = " ".join(sentences(0, 150).split())
    assert cluster["survivor_excerpt"] == text[:300]
    assert found["excerpt"] == f"Head {text}"[:300]
    page = command("explain", "a3", "--store", store)
    assert re.search(r"dropped by near as a near-duplicate of a \(similarity [01]\.\d{3}\), which was kept", page)
    assert "near: in a cluster of 3 documents" in page
    assert re.search(r"kept in its place: a \(similarity [01]\.\d{3}\)", page)
    assert near_fate(store, "h")[1]["clusters"] == []


def test_explain_does_without_a_text_that_is_gone(store: str) -> None:
    (Path(store).parent / "data" / "docs-1.jsonl").unlink()
    assert "docs-1.jsonl" in near_fate(store, "a3")[1]["clusters"][0]["unreadable"]
    assert "the text cannot be shown: data/docs-1.jsonl" in command("explain", "a3", "--store", store)


def test_secrets_are_resolved_again(tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(
        tmp_path / "secret" / "docs-0.jsonl", [document("a", "one two three"), document("b", "One, two, three")]
    )
    monkeypatch.setenv("CORPUS_FOLDER", str(tmp_path / "secret"))
    execute(
        make_recipe(tmp_path, sources=[{"name": "docs", "path": "${CORPUS_FOLDER}/docs-*"}], decide=["fuzzy_dedup"])
    )
    store = str(tmp_path / "store")
    assert clusters(store)[0]["members"][0]["diff"]
    monkeypatch.delenv("CORPUS_FOLDER")
    with pytest.raises(RecipeError, match="CORPUS_FOLDER is not set"):
        clusters(store)
