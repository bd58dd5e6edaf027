"""What-if: what it predicts is what a run with the same changes then keeps, rule by rule; what it refuses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.report.what_if import WhatIf
from gristmill.pipelines.storage import files
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
RULES = [
    {"drop": "gopher_words < 50"},
    {"drop": {"when": "score < 1", "name": "low_score"}},
    {"exact_dedup": "longest"},
    {"select": {"by": "random", "documents": 150, "seed": 3}},
]
SOURCES = [{"name": "docs", "path": "data/docs-*", "metadata": {"lang": "string", "score": "float"}}]


def kept_ids(version: str) -> set[str]:
    """Ids of the documents in a version."""
    return {
        i for path in Path(version).glob("*.parquet") for i in pq.read_table(path, columns=["id"])["id"].to_pylist()
    }


def same_counts(told: Funnel, run: Funnel) -> None:
    """Both funnels agree in all counts and in all that the rules learnt; a run adds what it sees when it writes."""
    for name in ("records", "documents", "text_bytes", "tokens", "kept", "kept_bytes", "kept_tokens", "groups"):
        assert getattr(told, name) == getattr(run, name), name
    for rule, ran in zip(told.rules, run.rules, strict=True):
        assert (rule.name, rule.seen, rule.dropped, rule.dropped_bytes, rule.dropped_tokens) == (
            *(ran.name, ran.seen, ran.dropped, ran.dropped_bytes, ran.dropped_tokens),
        )
        assert rule.details == {name: ran.details[name] for name in rule.details}


def check_prediction(recipe: Path, *changes: str) -> WhatIf:
    """What is predicted is what two runs do; nothing in the store is written."""
    before = execute(recipe)
    store = files.states(str(recipe.parent / "store"))
    told = gristmill.what_if(recipe, changes, examples=10_000, workers=2)
    assert files.states(str(recipe.parent / "store")) == store
    after = execute(recipe, *changes)
    assert after.measured_now == 0
    same_counts(told.before, before.funnel)
    same_counts(told.after, after.funnel)
    ids = [kept_ids(result.dataset) for result in (before, after)]
    came, went = ({e["id"] for e in told.examples if e["came"] == came} for came in (True, False))
    assert (came, went) == (ids[1] - ids[0], ids[0] - ids[1])
    assert (told.came[0], told.went[0]) == (len(came), len(went))
    return told


@pytest.fixture
def recipe(corpus: Path, make_recipe: MakeRecipe) -> Path:
    return make_recipe(corpus, sources=SOURCES, decide=RULES, write={"columns": ["id"]})


LIMITS = st.sampled_from(["0", "1.5", "3", "4"])
NUMBERS = st.integers(0, 12).map(str)
CONDITIONS = st.one_of(
    LIMITS.map("score < {}".format),
    st.tuples(NUMBERS, LIMITS).map(lambda n: f"tokens < {n[0]} or score >= {n[1]}"),
    st.sampled_from(["lang = 'de'", "lang in ('en', 'fr') and score > 2", "score < quantile(0.3)"]),
)
RULE = st.one_of(
    CONDITIONS.map(lambda text: {"drop": {"when": text}}),
    NUMBERS.map(lambda n: {"thresholds": {"minimum": {"tokens": {"en": int(n), "fr": 3}}}}),
    st.sampled_from(["first", "longest", "best: score"]).map(lambda keep: {"exact_dedup": {"keep": keep}}),
    st.one_of(
        st.integers(0, 30).map(lambda n: {"by": "score", "method": "top", "documents": n}),
        st.integers(0, 99).map(lambda n: {"by": "random", "fraction": 0.5, "seed": n}),
        st.integers(0, 200).map(lambda n: {"by": "score", "tokens": n, "temperature": 0.5}),
    ).map(lambda options: {"select": options}),
)
DOCUMENT = st.fixed_dictionaries(
    {
        "text": st.integers(0, 12).map(lambda n: " ".join(["field", "river", "stone"][: 1 + n % 3] * (1 + n))),
        "lang": st.sampled_from(["en", "de", "fr", None]),
        "score": st.sampled_from([None, 0.5, 1.5, 2.0, 3.5]),
    }
)


CASES = {
    "documents": st.lists(DOCUMENT, min_size=1, max_size=40),
    "rules": st.lists(RULE, min_size=1, max_size=4),
    "replaced": st.lists(st.tuples(st.integers(0, 3), RULE), min_size=1, max_size=2),
}


@settings(max_examples=6, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_what_is_predicted_is_what_a_run_does(**case: Any) -> None:
    check_case(**case)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(**CASES)
def test_what_is_predicted_is_what_a_run_does_many_times(**case: Any) -> None:
    check_case(**case)


def check_case(
    documents: list[dict[str, Any]], rules: list[dict[str, Any]], replaced: list[tuple[int, dict[str, Any]]]
) -> None:
    """A random corpus, in four shards of two sources, and a recipe of which some rules are replaced."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for i in range(4):
            part = [{"id": f"{i}-{k}", **document} for k, document in enumerate(documents[i::4])]
            write_jsonl(folder / "data" / f"{'web' if i % 2 else 'docs'}-{i}.jsonl", part)
        metadata = {"lang": "string", "score": "float"}
        sources = [{"name": name, "path": f"data/{name}-*", "metadata": metadata} for name in ("docs", "web")]
        head = {"version": 1, "name": "test", "store": "./store", "sources": sources, "write": {"columns": ["id"]}}
        head["measure"] = ["tokens", "text_hash"]  # what any of the rules reads, so that each may take another's place
        recipe = folder / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({**head, "decide": rules}))
        changed = list(rules)
        for i, rule in replaced:
            changed[i % len(rules)] = rule
        check_prediction(recipe, f"decide={json.dumps(changed)}")


def test_a_rule_goes_by_its_name_its_operator_or_its_name_in_the_funnel(recipe: Path) -> None:
    rules = [{"drop": "tokens < 20"}, {"drop": "gopher_words < 60"}, *RULES[1:]]
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), "decide": rules}))
    told = check_prediction(
        recipe,
        'decide.low_score.when="score < 3"',
        "decide.select.documents=100",
        "decide.drop_2.when=gopher_words < 40",
    )
    assert [rule.name for rule in told.after.rules] == ["drop", "drop_2", "low_score", "exact_dedup", "select"]
    assert {"low_score", "select"} <= {e["rule"] for e in told.examples if not e["came"]}
    first = next(e for e in told.examples if not e["came"] and e["rule"] == "low_score" and e["value"] == 2)
    assert (first["condition"], first["limit"], first["kept"]) == ("score < 3", 3.0, False)


def test_examples_are_chosen_by_a_hash_and_shown_with_their_texts(recipe: Path) -> None:
    execute(recipe)
    told = gristmill.what_if(recipe, ['decide.low_score.when="score < 3"'], examples=2)
    assert [e["came"] for e in told.examples] == [True, True, False, False]
    texts = {d["id"]: d["text"] for d in make_documents(400)}
    assert all(e["excerpt"] and e["excerpt"] in " ".join(texts[e["id"]].split()) for e in told.examples)
    again = gristmill.what_if(recipe, ['decide.low_score.when="score < 3"'], examples=2, workers=1)
    assert again == told
    copies = gristmill.what_if(recipe, ["decide.exact_dedup.keep=first"], examples=50)
    lost = [e for e in copies.examples if e["rule"] == "exact_dedup"]
    assert lost
    assert all(int(e["survivor_id"][-5:]) // 10 == int(e["id"][-5:]) // 10 for e in lost)
    (recipe.parent / "data" / "docs-0.jsonl.gz").write_bytes(b"")
    with pytest.raises(RecipeError):  # another file is another shard
        gristmill.what_if(recipe, ["sources.docs.path=data/docs-0*", "decide.select.documents=20"])


def test_a_rule_may_ask_for_what_another_recipe_measured(recipe: Path, make_recipe: MakeRecipe) -> None:
    execute(recipe)
    bare = make_recipe(recipe.parent, "bare.yaml", sources=SOURCES, decide=[], write={"columns": ["id"]})
    changes = ['decide=[{drop: "gopher_words < 90"}, exact_dedup]']
    told = check_prediction(bare, *changes)
    assert told.before.kept == 400 > told.after.kept
    with pytest.raises(
        RecipeError, match=r"with these changes the rules need page_statistics, which no run has measured"
    ):
        gristmill.what_if(bare, ['decide=[{drop: "page_long_lines < 9"}]'])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("decide.low_scor.when=score < 3", "there is no low_scor; did you mean low_score"),
        ("decide.low_score.when=scores < 3", "there is no column scores; did you mean score"),
        ("sources.docs.path=data/docs-1*", "--set sources.docs.path=.*: what-if changes rules"),
        ("transform=[normalize_unicode]", "to try other transform, run the recipe with"),
        ("measure=[{tokens: {bytes_per_token: 2}}]", "tokens"),
    ],
)
def test_what_cannot_be_predicted_is_refused(recipe: Path, change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=r"none of the 4 shards is measured yet; `gristmill run .*recipe\.yaml"):
        gristmill.what_if(recipe, ["decide.select.documents=9"])
    execute(recipe)
    with pytest.raises(RecipeError, match=message):
        gristmill.what_if(recipe, [change])
    with pytest.raises(RecipeError, match="name a change"):
        gristmill.what_if(recipe, [])


def test_what_is_not_measured_is_told_and_not_counted(recipe: Path) -> None:
    execute(recipe)
    write_jsonl(recipe.parent / "data" / "docs-9.jsonl", make_documents(5, seed=1))
    told = gristmill.what_if(recipe, ["decide.select.documents=20"])
    assert (told.before.documents, told.before.kept, told.after.kept) == (400, 150, 20)
    assert told.remarks == ("1 shard of 5 are not measured yet and not counted: `gristmill run` measures them",)
    told = gristmill.what_if(recipe, ["limits.source_loss=0.1", "decide.low_score.when=score < 5"])
    assert "a run would commit nothing: " in told.remarks[1]
    assert "source docs" in told.remarks[1]


def test_nights_are_decided_as_one_run(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    documents = make_documents(200)
    rules = [{"drop": "gopher_words < 40"}, {"fuzzy_dedup": {"threshold": 0.7, "index": {"name": "nights"}}}]
    keys = {"sources": SOURCES, "decide": rules, "write": {"columns": ["id"]}}
    recipe = make_recipe(tmp_path, **keys)
    for night in range(2):
        write_jsonl(tmp_path / "data" / f"docs-{night}.jsonl", documents[night::2])
        execute(recipe)
    store = files.states(str(tmp_path / "store"))
    told = gristmill.what_if(recipe, ["decide.drop.when=gopher_words < 90"])
    assert files.states(str(tmp_path / "store")) == store
    (remark,) = told.remarks
    assert remark.startswith("the index nights holds what earlier nights kept, and a run decides new documents only")
    for which, *changes in (("before",), ("after", "decide.drop.when=gopher_words < 90")):
        result = execute(make_recipe(tmp_path, "new.yaml", **keys, store=f"./{which}"), *changes)
        same_counts(getattr(told, which), result.funnel)


def test_the_command(recipe: Path) -> None:
    execute(recipe)
    arguments = ["what-if", str(recipe), "--set", "decide.low_score.when=score < 3", "--examples", "1"]
    shown = CliRunner().invoke(app, arguments, env={"COLUMNS": "100"})
    assert shown.exit_code == 0, shown.output
    told = gristmill.what_if(recipe, [arguments[3]], examples=1)
    assert f"test as it is, and with --set '{arguments[3]}'" in shown.stdout
    assert f"{told.went[0]} documents (~" in shown.stdout
    went = told.examples[-1]
    assert f"- {went['id']}  (docs)\n  then dropped by low_score: score < 3 (value " in shown.stdout
    printed = json.loads(CliRunner().invoke(app, [*arguments, "--json", "--quiet"]).stdout)
    assert printed == json.loads(json.dumps(told.to_json()))
    assert printed["went"] == dict(zip(("documents", "tokens"), told.went, strict=True))
    refused = CliRunner().invoke(app, ["what-if", str(recipe)])
    assert refused.exit_code == 2
    assert "name a change: --set" in refused.output
