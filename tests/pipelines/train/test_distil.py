"""`gristmill distil`: the split, what is written, what the report says, the student as a measure."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.student.cuts import Wish, cut_of
from gristmill.operators.student.cuts import curve as curve_of
from gristmill.operators.student.student import CALIBRATION
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train import evaluation
from gristmill.pipelines.train.distil import Options, distil
from gristmill.pipelines.train.examples import examples_of_table
from gristmill.pipelines.train.split import near_copies
from tests.pipelines.stages.test_run import execute, rows
from tests.pipelines.train.topics import TOPICS, examples, table, text_on
from tests.support import write_jsonl

MakeRecipe = Callable[..., Path]
SUFFIXES = ("", ".report.html", ".report.json", ".report.md", ".examples.parquet", CALIBRATION)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A student of three topics and its report."""
    folder = tmp_path_factory.mktemp("student")
    report = api.distil(str(folder / "topic.bin"), table=table(folder / "t.parquet", examples()))
    return folder / "topic.bin", report


def test_it_learns_and_says_how_well(distilled: tuple[Path, dict[str, Any]]) -> None:
    path, report = distilled
    counts, test = report["examples"], report["test"]
    assert counts["learnt"] + counts["calibrated"] + counts["tested"] == 600
    assert counts["tested"] == pytest.approx(120, abs=3)
    assert test["accuracy"] > 0.9 > test["most_frequent"]
    assert test["accuracy_interval"][0] <= test["accuracy"] <= test["accuracy_interval"][1]
    confusion = np.array(test["confusion"])
    assert confusion.sum() == counts["tested"]
    assert np.trace(confusion) / confusion.sum() == test["accuracy"]
    assert min(test["auc"].values()) > 0.95
    assert [row["examples"] for row in report["learning_curve"]][-1] == counts["learnt"]
    assert report["learning_curve"][-1]["accuracy"] == test["accuracy"]
    assert json.loads(Path(f"{path}.report.json").read_text()) == json.loads(json.dumps(report))
    page = Path(f"{path}.report.md").read_text()
    assert f"accuracy {test['accuracy']:.1%}" in page


def test_the_same_examples_in_any_order_and_form_give_the_same_bytes(tmp_path: Path) -> None:
    made = examples(200)
    one, other = tmp_path / "a", tmp_path / "b"
    for folder in (one, other):
        folder.mkdir()
    api.distil(str(one / "s.bin"), table=table(one / "t.parquet", made))
    shuffled = random.Random(1).sample(made, len(made))
    write_jsonl(other / "t.jsonl", [*shuffled, made[0]])
    api.distil(str(other / "s.bin"), table=str(other / "t.jsonl"))
    for suffix in ("", CALIBRATION):
        assert (one / f"s.bin{suffix}").read_bytes() == (other / f"s.bin{suffix}").read_bytes()
    again = tmp_path / "c.bin"
    api.distil(str(again), table=table(one / "t.parquet", made), seed=1)
    assert again.read_bytes() != (one / "s.bin").read_bytes()


def near_copy(text: str, draw: random.Random) -> str:
    words = text.split()
    words[draw.randrange(len(words))] = "changed"
    return " ".join(words)


def test_near_copies_are_one_cluster_and_on_one_side(tmp_path: Path) -> None:
    draw = random.Random(3)
    originals = [row["text"] for row in examples(150, seed=3)]
    originals = [text + " " + text_on("law", draw, 80) for text in originals]
    copies = [near_copy(text, draw) for text in originals]
    clusters = near_copies(pa.array([*originals, *copies], pa.large_string()))
    assert (clusters[:150] == clusters[150:]).all()
    assert len(np.unique(clusters)) == 150
    made = [{"text": text, "label": ["a", "b"][i % 2]} for i, text in enumerate(originals)]
    made += [{"text": text, "label": ["a", "b"][i % 2]} for i, text in enumerate(copies)]
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made))
    assert report["examples"]["clusters"] == 150
    learnt = {row["id"] for row in pq.read_table(tmp_path / "s.bin.examples.parquet", columns=["id"]).to_pylist()}
    numbers = {int(id.rsplit(":", 1)[1]) for id in learnt}
    assert len(numbers) == report["examples"]["learnt"]
    assert all((i + 150 in numbers) == (i in numbers) for i in range(150)), "a copy lies on the other side"


def test_copies_with_a_similarity_of_about_six_tenths_are_one_cluster() -> None:
    draw = random.Random(8)
    pairs = []
    while len(pairs) < 150:
        words = text_on("law", draw, 200).split()
        copy = [*words]
        for at in draw.sample(range(200), 11):
            copy[at] = f"changed{at}"
        one, other = ({tuple(side[i : i + 5]) for i in range(196)} for side in (words, copy))
        if 0.57 < len(one & other) / len(one | other) < 0.65:
            pairs.append((" ".join(words), " ".join(copy)))
    clusters = near_copies(pa.array([text for side in zip(*pairs, strict=True) for text in side], pa.large_string()))
    assert (clusters[:150] == clusters[150:]).mean() > 0.95


def test_an_example_is_called_by_the_record_that_it_was(tmp_path: Path) -> None:
    made = [{"text": "", "label": "law"}, *examples(3), {"text": None, "label": None}, *examples(2, seed=1)]
    held = examples_of_table(table(tmp_path / "t.parquet", made), "text", "label")
    assert [int(id.rsplit(":", 1)[1]) for id in held.ids] == [1, 2, 3, 5, 6]


def test_near_copies_of_what_is_tested_with_are_not_learnt_from(tmp_path: Path) -> None:
    draw = random.Random(4)
    made = [row | {"text": row["text"] + " " + text_on(row["label"], draw, 60)} for row in examples(200, seed=4)]
    tested = [{"text": near_copy(row["text"], draw), "label": row["label"]} for row in made[:30]] + [made[40]]
    report = api.distil(
        str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), test=table(tmp_path / "e.parquet", tested)
    )
    assert report["examples"]["tested"] == 31
    assert report["examples"]["left_out"] == 30
    assert report["examples"]["learnt"] + report["examples"]["calibrated"] == 200 - 31


def test_a_label_that_is_mostly_the_source_is_pointed_out(tmp_path: Path) -> None:
    def by_source(topic: str, draw: random.Random) -> str:
        return "good" if topic == "law" else "bad"

    made = [row | {"source": row["label"], "label": row["grade"]} for row in examples(500, grade=by_source)]
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), by=["source"])
    assert any(warning.startswith("source alone tells what is positive") for warning in report["warnings"])
    assert report["strata"]["source"]["auc_alone"] == 1.0
    page = Path(tmp_path / "s.bin.report.md").read_text()
    assert "**Warning**: source alone" in page


def test_one_that_is_not_is_not(tmp_path: Path) -> None:
    made = examples(500, source=lambda topic, draw: draw.choice(["web", "books"]))
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), by=["source"])
    assert report["warnings"] == []
    assert report["strata"]["source"]["auc_alone"] < 0.65
    strata = report["strata"]["source"]["rows"]
    assert {row["stratum"] for row in strata} == {"web", "books"}
    assert all(row["auc"] > 0.9 for row in strata)


def test_a_label_that_no_text_has_is_not_known(tmp_path: Path) -> None:
    made = [row | {"grade": 4 if row["label"] == "law" else 1} for row in examples(300)]
    tested = [*({"text": row["text"], "grade": row["grade"]} for row in made[200:]), {"text": "a five", "grade": 1}]
    learnt = table(tmp_path / "t.parquet", [{"text": row["text"], "grade": row["grade"]} for row in made[:200]])
    report = api.distil(
        str(tmp_path / "s.bin"), table=learnt, test=table(tmp_path / "e.parquet", tested), label="grade", scale=True
    )
    assert report["labels"] == ["1", "4"]
    two = examples_of_table(learnt, "text", "grade", None, (), True, ("0", "1", "4"))
    again = distil(two, str(tmp_path / "again.bin"), Reporter(quiet=True))
    assert again["labels"] == ["1", "4"]
    assert "no text to learn from has the label 0: the student does not know it" in again["warnings"]


def test_a_scale_has_a_rank_correlation_and_cuts(tmp_path: Path) -> None:
    draw = random.Random(5)
    made = []
    for _ in range(700):
        grade = draw.randrange(5)
        made.append({"text": text_on("law", draw, 60, share=grade / 12), "label": grade})
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), scale=True)
    assert report["labels"] == ["0", "1", "2", "3", "4"]
    assert report["test"]["spearman"] > 0.7
    (curve,) = report["curves"].values()
    cut = curve["cuts"]["recall >= 0.9"]
    assert cut["recall"] >= 0.9
    assert curve["cuts"]["keep 0.2"]["kept"] == pytest.approx(0.2, abs=0.02)


def test_the_student_is_a_measure_whose_calibration_counts_and_whose_cut_does_not(
    distilled: tuple[Path, dict[str, Any]], tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    path, _ = distilled
    for suffix in SUFFIXES:
        (tmp_path / f"m.bin{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    documents = [{"id": str(i), "lang": "en", **row} for i, row in enumerate(examples(80, seed=9))]
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", documents)
    recipe = make_recipe(
        tmp_path,
        measure=[{"distilled": {"model": "m.bin", "label": "law", "column": "law"}}],
        decide=[{"drop": "law < 0.5"}],
        write={"columns": ["id", "law"]},
    )
    first = execute(recipe)
    kept = dict(rows(first, "id", "law"))
    right = {row["id"] for row in documents if row["label"] == "law"}
    assert len(right & {*kept}) > 0.8 * len(right)
    assert len({*kept} - right) < 0.2 * len(right)
    assert execute(recipe, "decide.drop.when=law < 0.8").measured_now == 0
    calibration = tmp_path / f"m.bin{CALIBRATION}"
    calibration.write_text(json.dumps(json.loads(calibration.read_text()) | {"temperature": 5.0}))
    again = execute(recipe)
    assert again.measured_now == 1
    assert all(value < kept[id] for id, value in rows(again, "id", "law") if id in kept and kept[id] > 0.6)
    with pytest.raises(RecipeError, match=r"there is no file .*nothing\.bin"):
        execute(recipe, "measure.distilled.model=nothing.bin")


def test_explain_says_why_a_document_has_its_score(
    distilled: tuple[Path, dict[str, Any]], tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    path, _ = distilled
    text = "The COURT heard the judge and the coach on the appeal in the garden by the river and the mountain"
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{"id": "one", "lang": "en", "text": text}])
    execute(make_recipe(tmp_path, transform=["normalize_unicode"]))
    store = str(tmp_path / "store")
    (document,) = api.explain(store, "one", student=str(path))
    told = document["fates"][0]["student"]
    assert told["label"] == "law"
    assert told["probability"] > 0.8
    assert {entry["ngram"] for entry in told["ngrams"][:3]} & {"court", "judge", "appeal"}
    total = sum(entry["added"] for entry in told["examples"]) + told["other_examples"]
    assert total == pytest.approx(told["score"], abs=1e-6)
    (other,) = api.explain(store, "one", student=str(path), label="sport")
    assert other["fates"][0]["student"]["score"] < told["score"]
    command = ["explain", "one", "--store", store, "--student", str(path)]
    shown = CliRunner().invoke(app, command, env={"COLUMNS": "200"}).output
    assert f"score of law {told['score']:+.3f}, probability {told['probability']:.3f}" in shown
    assert "by the examples that taught it:" in shown
    wrong = CliRunner().invoke(app, [*command, "--label", "laws"])
    assert wrong.exit_code == 2
    assert "has no label laws" in wrong.output
    assert "law" in wrong.output
    nothing = CliRunner().invoke(app, ["explain", "one", "--store", store, "--student", str(tmp_path / "no.bin")])
    assert nothing.exit_code == 2
    assert "no.bin" in nothing.output


def test_explain_finds_the_student_of_a_column(
    distilled: tuple[Path, dict[str, Any]], tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    path, _ = distilled
    for suffix in SUFFIXES:
        (tmp_path / f"m.bin{suffix}").write_bytes(Path(f"{path}{suffix}").read_bytes())
    text = "The court heard the judge and the coach on the appeal in the garden by the river"
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{"id": "one", "lang": "en", "text": text}])
    measure = ["tokens", {"distilled": {"model": "m.bin", "label": "sport", "column": "sport"}}]
    execute(make_recipe(tmp_path, measure=measure))
    store = str(tmp_path / "store")
    (document,) = api.explain(store, "one", score="sport")
    told = document["fates"][0]["student"]
    assert told["label"] == "sport"
    assert told["probability"] == pytest.approx(document["sport"], abs=1e-6)
    assert told == api.explain(store, "one", student=str(path), label="sport")[0]["fates"][0]["student"]
    assert api.explain(store, "one", score="sport", label="law")[0]["fates"][0]["student"]["label"] == "law"
    with pytest.raises(RecipeError, match=r"no student measured sports of test; did you mean sport\?"):
        api.explain(store, "one", score="sports")
    execute(make_recipe(tmp_path, file="young.yaml", name="young"))  # a newer dataset, whose run had no student
    (document,) = api.explain(store, "one", score="sport")
    assert {fate["dataset"]: fate.get("student") for fate in document["fates"]} == {"young": None, "test": told}
    with pytest.raises(RecipeError, match="leave one of `score` and `student` out"):
        api.explain(store, "one", score="sport", student=str(path))
    calibration = tmp_path / f"m.bin{CALIBRATION}"
    calibration.write_text(json.dumps(json.loads(calibration.read_text()) | {"temperature": 5.0}))
    with pytest.raises(RecipeError, match=r"m\.bin\.calibration\.json is another than sport was measured by"):
        api.explain(store, "one", score="sport")
    calibration.unlink()
    with pytest.raises(RecipeError, match="there is no file"):
        api.explain(store, "one", score="sport")
    record = min((tmp_path / "store" / "runs").glob("*/run.json"))
    content = files.read_record(str(record))
    files.write_record(str(record), {name: value for name, value in content.items() if name != "resources"})
    with pytest.raises(RecipeError, match=r"does not tell where m\.bin lay; name the student with --student"):
        api.explain(store, "one", score="sport")


def test_soft_labels_and_isotonic_calibration(tmp_path: Path) -> None:
    made = examples(400, sure=lambda topic, draw: draw.choice([0.6, 0.9, None]))
    source = table(tmp_path / "t.parquet", made)
    report = api.distil(str(tmp_path / "s.bin"), table=source, probability="sure", calibration="isotonic")
    assert report["test"]["calibration"]["method"] == "isotonic"
    stored = pq.read_table(tmp_path / "s.bin.examples.parquet")["target"].to_pylist()
    assert {round(max(target), 3) for target in stored} == {0.6, 0.9, 1.0}
    assert all(sum(target) == pytest.approx(1) for target in stored)


def test_the_answers_to_a_task_teach_it(tmp_path: Path) -> None:
    made = [{"id": str(i), **row} for i, row in enumerate(examples(300, seed=6))]
    write_jsonl(tmp_path / "docs.jsonl", made)
    task = {"version": 1, "name": "topic", "instruction": "What is it about?", "answer": {"choice": [*TOPICS]}}
    task["annotators"] = [{"name": "m", "engine": "http", "model": "m", "base_url": "http://127.0.0.1:9/v1"}]
    (tmp_path / "task.yaml").write_text(json.dumps(task))
    draw = random.Random(7)
    for name, error in (("ann", 0.05), ("bob", 0.1), ("cy", 0.5)):
        answers = [
            {
                "id": row["id"],
                "text": row["text"],
                "answer": draw.choice([*TOPICS]) if draw.random() < error else row["label"],
            }
            for row in made
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", answers)
        command = [
            "labels",
            "import",
            str(tmp_path / "task.yaml"),
            str(tmp_path / f"{name}.jsonl"),
            "--annotator",
            name,
        ]
        done = CliRunner().invoke(app, [*command, "--store", str(tmp_path / "store")])
        assert done.exit_code == 0, done.output
    command = [
        "distil",
        str(tmp_path / "task.yaml"),
        "--store",
        str(tmp_path / "store"),
        "--out",
        str(tmp_path / "s.bin"),
    ]
    done = CliRunner().invoke(app, [*command, "--input", str(tmp_path / "docs.jsonl"), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["labels"] == [*TOPICS]
    assert report["test"]["accuracy"] > 0.85
    shown = CliRunner().invoke(app, [*command, "--input", str(tmp_path / "docs.jsonl")], env={"COLUMNS": "200"}).output
    assert "calibration error" in shown
    assert "precision >= 0.9" in shown


def mislabelled(n: int, share: float) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Examples of whose labels a share is wrong, and others that are right."""
    draw, made = random.Random(11), []
    for i in range(n + 400):
        topic = draw.choice([*TOPICS])
        wrong = i < n and draw.random() < share
        label = draw.choice([other for other in TOPICS if other != topic]) if wrong else topic
        made.append({"text": text_on(topic, draw, 30, 0.07), "label": label})
    return made[:n], made[n:]


def test_labels_that_other_texts_speak_against_are_learnt_as_they_should_be(tmp_path: Path) -> None:
    made, right = mislabelled(800, 0.2)
    learnt, tested = table(tmp_path / "t.parquet", made), table(tmp_path / "e.parquet", right)
    by = {
        correct: api.distil(str(tmp_path / f"{correct}.bin"), table=learnt, test=tested, correct=correct)
        for correct in ("auto", "never")
    }
    told = by["auto"]["correction"]
    assert told["applied"]
    assert told["wrong"] == pytest.approx(0.2, abs=0.04)
    assert by["never"]["correction"] is None
    assert by["auto"]["test"]["accuracy"] > by["never"]["test"]["accuracy"] + 0.02
    assert by["auto"]["test"]["calibration"]["ece"] < by["never"]["test"]["calibration"]["ece"] - 0.05
    page = (tmp_path / "auto.bin.report.md").read_text()
    assert f"about {told['wrong']:.0%} of the labels are wrong by what other texts say" in page


def test_labels_that_are_right_are_learnt_as_they_are(tmp_path: Path) -> None:
    source = table(tmp_path / "t.parquet", examples(400))
    reports = {c: api.distil(str(tmp_path / f"{c}.bin"), table=source, correct=c) for c in ("auto", "never")}
    assert reports["auto"]["correction"]["applied"] is False
    assert (tmp_path / "auto.bin").read_bytes() == (tmp_path / "never.bin").read_bytes()


def test_a_label_that_texts_do_not_bear_out_is_not_corrected_away(tmp_path: Path) -> None:
    draw = random.Random(13)
    made = [row | {"label": "rare" if draw.random() < 0.15 else row["label"]} for row in examples(600, seed=13)]
    report = api.distil(str(tmp_path / "s.bin"), table=table(tmp_path / "t.parquet", made), correct="always")
    assert report["correction"]["applied"] is False
    assert any("do not bear out most of the labels rare" in warning for warning in report["warnings"])
    stored = pq.read_table(tmp_path / "s.bin.examples.parquet")["target"].to_pylist()
    assert {max(target) for target in stored} == {1.0}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_student_is_as_right_as_the_teacher_of_real_texts(shared_data: Path, tmp_path: Path, seed: int) -> None:
    draw = np.random.default_rng(seed)
    learnt, test = (pq.read_table(shared_data / "labelled" / f"agnews_{part}.parquet") for part in ("train", "test"))
    learnt = learnt.take(pa.array(draw.permutation(learnt.num_rows)[:5000]))
    wrong = draw.random(5000) < 0.15
    labels = np.where(wrong, (learnt["label"].to_numpy() + draw.integers(1, 4, 5000)) % 4, learnt["label"].to_numpy())
    for name, texts, labelled in (("l", learnt["text"], labels), ("t", test["text"], test["label"].to_numpy())):
        pq.write_table(pa.table({"text": texts, "label": labelled}), tmp_path / f"{name}.parquet")
    paths = [str(tmp_path / f"{name}.parquet") for name in "lt"]
    report = api.distil(str(tmp_path / "s.bin"), table=paths[0], test=paths[1])
    assert report["test"]["accuracy"] >= 1 - wrong.mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to learn from"),
        (["--table", "{t}", "--label", "grade"], "has no field grade"),
        (["--table", "{t}", "--calibration", "prayer"], "there is no calibration prayer"),
        (["--table", "{t}", "--student", "owl"], "there is no student owl"),
        (["--table", "{t}", "--correct", "perhaps"], "there is no correction perhaps"),
        (["--table", "{few}"], "give 50 or more"),
        (["--table", "{one}"], "all texts have one label"),
        (["--table", "{alike}"], "leave none to calibrate with"),
        (["--table", "{t}", "--probability", "text"], "a text is no number"),
        (["--table", "{t}", "--test", "{other}"], "is no label of the others"),
        (["--table", "{t}", "--scale"], "is no number, as those of a scale are"),
        (["--table", "{bare}"], "a text has no label"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    made = examples(60)
    tables = {
        "t": made,
        "few": made[:20],
        "alike": [
            {"text": near_copy(text_on("law", random.Random(1), 90), random.Random(i)), "label": "ab"[i % 2]}
            for i in range(90)
        ],
        "one": [row | {"label": "x"} for row in made],
        "other": [row | {"label": "x"} for row in made],
        "bare": [*made, {"text": "no label here", "label": None}],
    }
    paths = {name: table(tmp_path / f"{name}.parquet", held) for name, held in tables.items()}
    command = ["distil", "--out", str(tmp_path / "s.bin"), *[argument.format(**paths) for argument in arguments]]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not list(tmp_path.glob("s.bin*"))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_spearman_is_the_correlation_of_ranks(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array(side, np.float64) for side in zip(*pairs, strict=True))

    def ranks(values: np.ndarray) -> np.ndarray:
        return np.array([(values < v).sum() + ((values == v).sum() + 1) / 2 for v in values])

    found = evaluation.spearman(first, second)
    if len({*first}) == 1 or len({*second}) == 1:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(ranks(first), ranks(second))[0, 1])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=3, max_size=60))
def test_a_curve_is_what_its_cuts_keep(pairs: list[tuple[float, bool]]) -> None:
    values, positive = np.array([v for v, _ in pairs]), np.array([p for _, p in pairs])
    curve = curve_of(values, positive)
    for row in curve:
        taken = values.astype(np.float32) >= row["threshold"]
        assert row["kept"] == pytest.approx(taken.mean())
        assert row["precision"] == pytest.approx(positive[taken].mean())
        assert row["recall"] == pytest.approx((positive & taken).sum() / max(1, positive.sum()))
    precise = cut_of(curve, Wish("precision", 0.8))
    enough = [row for row in curve if row["precision"] >= 0.8]
    assert (precise is None) == (not enough)
    if precise is not None:
        assert precise["recall"] == max(row["recall"] for row in enough)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "least"), [("agnews", 0.87), ("imdb", 0.88)])
def test_real_labels(shared_data: Path, tmp_path: Path, name: str, least: float) -> None:
    labelled = shared_data / "labelled"
    report = api.distil(
        str(tmp_path / "s.bin"),
        table=str(labelled / f"{name}_train.parquet"),
        test=str(labelled / f"{name}_test.parquet"),
        label="label_name",
    )
    assert report["test"]["accuracy"] >= least
    assert report["test"]["calibration"]["ece"] <= 0.03


def of_sources(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Examples of two sources: of the second most texts on sport are called law."""
    draw = random.Random(5)
    made = examples(1500)
    for i, row in enumerate(made):
        row["source"] = "second" if i % 2 else "first"
        if row["source"] == "second" and row["label"] == "sport" and draw.random() < 0.7:
            row["label"] = "law"
    return table(folder / "t.parquet", made), made


def test_strata_that_are_calibrated_apart_are_in_report_recipe_and_explanation(
    tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    path, made = of_sources(tmp_path)
    model = str(tmp_path / "s.bin")
    report = api.distil(model, table=path, by=["source"], calibrate_by="source", correct="never")
    (first, second) = report["calibration_by_stratum"]
    assert (first["stratum"], second["stratum"]) == ("first", "second")
    assert second["ece"] < second["ece_common"]
    assert "Calibrated apart" in Path(f"{model}.report.md").read_text()
    for name in ("first", "second"):
        rows_of = [{"id": f"{name}{i}", "text": row["text"]} for i, row in enumerate(made) if row["source"] == name]
        write_jsonl(tmp_path / f"{name}.jsonl", rows_of)
    sources = [{"name": name, "path": f"{name}.jsonl"} for name in ("first", "second")]
    measure = [{"distilled": {"model": "s.bin", "label": "sport", "column": "sport", "by": "source"}}]
    recipe = make_recipe(tmp_path, sources=sources, measure=measure, transform=[])
    told = dict(rows(execute(recipe), "id", "sport"))
    means = {name: np.mean([told[id] for id in told if id.startswith(name)]) for name in ("first", "second")}
    assert means["first"] > means["second"] + 0.1
    (fate,) = api.explain(tmp_path / "store", "second1", student=model, label="sport")
    assert fate["fates"][0]["student"]["probability"] == pytest.approx(told["second1"], abs=1e-6)
    # the same files by other names: what was measured of them before does not count
    swapped = make_recipe(
        tmp_path,
        sources=[{**s, "name": o["name"]} for s, o in zip(sources, sources[::-1], strict=True)],
        measure=measure,
        transform=[],
    )
    again = dict(rows(execute(swapped), "id", "sport"))
    assert again["second1"] != told["second1"]
    plain = make_recipe(tmp_path, sources=sources, measure=[{"distilled": {"model": "s.bin", "label": "sport"}}])
    with pytest.raises(RecipeError, match="calibrated by source: write `by: source`"):
        execute(plain)


def test_a_field_that_is_no_stratum_cannot_be_calibrated_by(tmp_path: Path) -> None:
    path, _ = of_sources(tmp_path)
    with pytest.raises(RecipeError, match="cannot be calibrated by source: there are none: name some with --by"):
        api.distil(str(tmp_path / "s.bin"), table=path, calibrate_by="source")
    with pytest.raises(RecipeError, match="cannot be calibrated by topic: there are source"):
        api.distil(str(tmp_path / "s.bin"), table=path, by=["source"], calibrate_by="topic")
    common = api.distil(str(tmp_path / "s.bin"), table=path, by=["source"])
    assert common["calibration_by_stratum"] == []


def test_a_rare_label_weighs_as_much_where_that_is_asked_for(tmp_path: Path) -> None:
    draw = random.Random(6)
    made = [row for row in examples(2500, seed=6) if row["label"] != "food" or draw.random() < 0.08]
    path = table(tmp_path / "t.parquet", [{**row, "text": text_on(row["label"], draw, 25, 0.06)} for row in made])
    report = api.distil(str(tmp_path / "even.bin"), table=path, correct="never", balance=True)
    assert report["options"]["balance"] is True
    assert report["test"]["f1"]["food"] > 0.3
    duals = pq.read_table(tmp_path / "even.bin.examples.parquet")
    weight = {True: [], False: []}  # type: ignore[var-annotated]
    for row in duals.to_pylist():
        weight[row["target"][0] == 1].append(max(map(abs, row["dual"])))  # food is the first label
    assert np.mean(weight[True]) > 3 * np.mean(weight[False])


def test_a_fasttext_student_is_one_like_the_other(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    names = {"law": "the law", "food": "50 % food", "sport": "sport/golf"}
    made = [{**row, "label": names.get(row["label"], row["label"])} for row in examples()]
    path = tmp_path / "s.bin"
    api.distil(str(path), table=table(tmp_path / "t.parquet", made))
    report = api.distil(str(path), table=str(tmp_path / "t.parquet"), student="fasttext", buckets=1 << 12)
    assert report["test"]["accuracy"] > 0.9
    assert report["test"]["calibration"]["ece"] < 0.1
    assert report["training"]["loss"] == "ova"
    assert not Path(f"{path}.examples.parquet").exists(), "they taught another student"
    library = fasttext.load_model(str(path))
    answers, _ = library.predict([" ".join(re.findall(r"\w+|[^\w\s]+", row["text"].lower())) for row in made])
    right = [unquote(answer[0]) == f"__label__{row['label']}" for answer, row in zip(answers, made, strict=True)]
    assert np.mean(right) > 0.9
    shuffled = random.Random(1).sample(made, len(made))
    api.distil(
        str(tmp_path / "again.bin"), table=table(tmp_path / "u.parquet", shuffled), student="fasttext", buckets=1 << 12
    )
    for suffix in ("", CALIBRATION):
        assert Path(f"{tmp_path / 'again.bin'}{suffix}").read_bytes() == Path(f"{path}{suffix}").read_bytes()
    write_jsonl(
        tmp_path / "data" / "docs-0.jsonl",
        [{"id": str(i), "text": row["text"], "lang": "en"} for i, row in enumerate(made[:50])],
    )
    measure = [{"distilled": {"model": str(path), "label": "the law", "column": "law"}}]
    result = execute(make_recipe(tmp_path, measure=measure, decide=[{"drop": "law < 0.5"}]))
    kept = {int(id) for (id,) in rows(result, "id")}
    assert np.mean([(made[i]["label"] == "the law") == (i in kept) for i in range(50)]) > 0.9
    explained = CliRunner().invoke(app, ["explain", "1", "--store", str(tmp_path / "store"), "--student", str(path)])
    assert explained.exit_code == 2
    assert "is a fastText model, whose scores nothing explains" in explained.output


def test_a_fasttext_student_learns_soft_labels_of_which_a_text_has_one(tmp_path: Path) -> None:
    made = [{**row, "label": "law" if row["label"] == "law" else "other", "p": 0.7} for row in examples()]
    soft = table(tmp_path / "t.parquet", made)
    report = api.distil(
        str(tmp_path / "s.bin"), table=soft, probability="p", student="fasttext", balance=True, buckets=1 << 12
    )
    measure = Distilled(model=str(tmp_path / "s.bin"), label="law")
    score = measure.open({name: Path(path) for name, path in measure.resources().items()})
    shares = score(pa.record_batch({"text": pa.array([row["text"] for row in made], pa.large_string())}))
    values = shares["distilled"].to_numpy()
    is_law = np.array([row["label"] == "law" for row in made])
    assert np.median(values[is_law]) == pytest.approx(0.7, abs=0.1)
    assert np.median(values[~is_law]) == pytest.approx(0.3, abs=0.1)
    assert report["options"]["student"] == "fasttext"
    several = examples_of_table(soft, "text", "label", None, (), False)
    with pytest.raises(RecipeError, match="a fastText student knows labels of which a text has one"):
        distil(
            replace(several, kind="multi"),
            str(tmp_path / "m.bin"),
            Reporter(quiet=True),
            Options(student="fasttext"),
        )
