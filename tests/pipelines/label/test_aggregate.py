"""`labels aggregate`: votes of tables and of tasks, what is written, what is told."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.aggregation.methods import METHODS
from gristmill.pipelines.cli.labels import METHOD_NAMES
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.label.aggregate import DEFAULT, wilson
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import load_task
from tests.pipelines.label.store.rows_made import BIG, rejected

VOTES = [
    ("a", "ann", "yes"), ("a", "bob", "yes"), ("a", "cy", "no"),
    ("b", "ann", "no"), ("b", "bob", "no"),
    ("c", "ann", "yes"), ("c", "cy", "no"),
    ("d", "cy", "no"),
]  # fmt: skip


#: A task names a model; here only people answer.
MODELS = [{"name": "model", "engine": "http", "model": "m", "base_url": "http://127.0.0.1:9/v1"}]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["labels", *map(str, arguments)], env={"COLUMNS": "200"})


def write(path: Path, rows: list[tuple[Any, ...]], names: tuple[str, ...] = ("item", "annotator", "label")) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        pq.write_table(pa.table([*zip(*rows, strict=True)], names=list(names)), path)
    return path


def test_the_methods_that_the_command_names() -> None:
    assert {*METHOD_NAMES} == {*METHODS}
    assert METHOD_NAMES[0] == DEFAULT


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_majority_of_a_table_of_any_format(tmp_path: Path, suffix: str) -> None:
    table = write(tmp_path / f"votes{suffix}", VOTES)
    out = tmp_path / "labels.parquet"
    done = run("aggregate", "--table", table, "--method", "majority", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out).to_pylist()
    expected = duckdb.sql(
        f"SELECT item, count(*) AS n, avg((label = 'yes')::int) AS yes FROM '{write(tmp_path / 'v.parquet', VOTES)}' "
        "GROUP BY item ORDER BY item"
    ).fetchall()
    for row, (item, n, yes) in zip(rows, expected, strict=True):
        assert (row["item"], row["votes"], row["gold"]) == (item, n, None)
        assert dict(row["probabilities"]) == pytest.approx({"no": 1 - yes, "yes": yes})
        if yes != 0.5:
            assert row["answer"] == ("yes" if yes > 0.5 else "no")
        assert row["probability"] == pytest.approx(max(yes, 1 - yes)) == row["agreement"]
        assert row["entropy"] == pytest.approx(sum(-p * math.log(p) for p in (yes, 1 - yes) if p), abs=1e-6)
    report = json.loads(done.stdout)
    assert (report["items"], report["votes"], report["annotators"], report["left_out"]) == (4, 8, 3, 0)
    assert report["gold"] is None
    assert {row["annotator"]: row["votes"] for row in report["quality"]} == {"ann": 3, "bob": 2, "cy": 3}


def test_a_scale_has_an_expected_value_and_its_top(tmp_path: Path) -> None:
    rows = [(f"i{i:02d}", who, (i + shift) // 4) for i in range(40) for who, shift in (("x", 0), ("y", 0), ("z", 2))]
    report_of = run("aggregate", "--table", write(tmp_path / "v.parquet", rows), "--scale", "--json", "--out",
                    tmp_path / "o.parquet")  # fmt: skip
    assert report_of.exit_code == 0, report_of.output
    for row in pq.read_table(tmp_path / "o.parquet").to_pylist():
        assert row["expected"] == pytest.approx(sum(float(k) * p for k, p in row["probabilities"]), abs=1e-5)
    report = json.loads(report_of.stdout)
    assert [*report["answers"]] == [str(i) for i in range(11)]  # by number, 10 behind 9
    assert report["agreement"]["level"] == "ordinal"
    assert report["agreement"]["top"]["share"] == 0.1
    shown = run("aggregate", "--table", tmp_path / "v.parquet", "--scale").output
    assert "among the top 10%" in shown


def test_gold_is_compared_without_being_seen_and_given_back(tmp_path: Path) -> None:
    rows = [(f"i{i}", who, str(i % 2), str((i // 5) % 2) if i < 60 else "") for i in range(100) for who in "abc"]
    names = ("item", "annotator", "label", "truth")
    table = write(tmp_path / "v.csv", rows, names)
    done = run("aggregate", "--table", table, "--gold", "truth", "--json", "--out", tmp_path / "o.parquet")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    right = sum(i % 2 == (i // 5) % 2 for i in range(60))
    assert (report["gold"]["items"], report["gold"]["accuracy"]) == (60, right / 60)
    assert (report["gold"]["low"], report["gold"]["high"]) == wilson(right, 60)
    assert {row["gold_accuracy"] for row in report["quality"]} == {right / 60}
    written = {row["item"]: row for row in pq.read_table(tmp_path / "o.parquet").to_pylist()}
    assert all(written[f"i{i}"]["answer"] == written[f"i{i}"]["gold"] == str((i // 5) % 2) for i in range(60))
    assert all(written[f"i{i}"]["gold"] is None for i in range(60, 100))


def test_agreement_is_told_by_stratum(tmp_path: Path) -> None:
    rows = [
        (f"i{i}", who, str((i if i % 2 else i + int(who)) // 2 % 2), "agreed" if i % 2 else "disputed")
        for i in range(80)
        for who in "0123"
    ]
    table = write(tmp_path / "v.parquet", rows, ("item", "annotator", "label", "kind"))
    report = json.loads(run("aggregate", "--table", table, "--by", "kind", "--json").stdout)
    strata = report["agreement"]["strata"]
    assert strata["agreed"] == {"items": 40, "alpha": 1.0}
    assert strata["disputed"]["alpha"] < 0.1 < report["agreement"]["alpha"] < 1


def test_records_without_a_field_are_counted(tmp_path: Path) -> None:
    rows = [*VOTES, ("", "ann", "yes"), ("e", "", "yes"), ("e", "ann", "")]
    done = run("aggregate", "--table", write(tmp_path / "v.csv", rows))
    assert done.exit_code == 0
    assert "! 3 records left out: a field is empty" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to aggregate"),
        (["--table", "{votes}", "--label", "answer"], "has no field answer; its fields are item, annotator, label"),
        (["--table", "{votes}", "--method", "dawid"], "there is no method dawid"),
        (["--table", "{votes}", "--scale"], "the label 'no' of the field label is no number"),
        (["--table", "nowhere.parquet"], "there is no file nowhere.parquet"),
        (["--table", "{votes}", "--out", "o.csv"], "end the name in .parquet"),
        (["--table", "{votes}", "--pairs", "item,annotator"], "LEFT,RIGHT,WINNER"),
        (["--table", "{votes}", "--pairs", "item,annotator,label"], "the winner 'yes' of row 0 is neither"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    votes = write(tmp_path / "votes.parquet", VOTES)
    done = run("aggregate", *[argument.format(votes=votes) for argument in arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def test_an_item_with_two_golds_is_refused(tmp_path: Path) -> None:
    rows = [("a", "ann", "yes", "yes"), ("a", "bob", "no", "no")]
    table = write(tmp_path / "v.csv", rows, ("item", "annotator", "label", "gold"))
    with pytest.raises(RecipeError, match="the item a has more than one gold label"):
        api.aggregate_labels(table=str(table), fields={"gold": "gold"})


def test_comparisons_give_scores(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = []
    for _ in range(3000):
        a, b = draw.choice(30, 2, replace=False)
        gap = float(a - b) / 3
        winner = a if draw.random() < 1 / (1 + math.exp(-gap)) else b
        rows.append((f"t{a}", f"t{b}", "tie" if abs(gap) < 0.5 and draw.random() < 0.5 else f"t{winner}"))
    rows.append(("t1", "", "t1"))
    table = write(tmp_path / "pairs.csv", rows, ("left", "right", "better"))
    done = run("aggregate", "--table", table, "--pairs", "left,right,better", "--out", tmp_path / "s.parquet", "--json")
    assert done.exit_code == 0, done.output
    scored = pq.read_table(tmp_path / "s.parquet").to_pylist()
    ranks = [int(row["item"][1:]) for row in scored]
    assert np.corrcoef(ranks, np.arange(30, 0, -1))[0, 1] > 0.97
    report = json.loads(done.stdout)
    assert (report["items"], report["comparisons"], report["left_out"]) == (30, 3000, 1)
    assert report["ties"] == sum(row[2] == "tie" for row in rows)
    assert sum(row["comparisons"] for row in scored) == 6000


def task(folder: Path, answer: Any) -> Path:
    path = folder / "task.yaml"
    path.write_text(
        json.dumps(
            {"version": 1, "name": "topic", "instruction": "What is it?", "answer": answer, "annotators": MODELS}
        )
    )
    return path


def answered(folder: Path, path: Path, annotator: str, answers: dict[str, Any]) -> None:
    records = folder / f"{annotator}.jsonl"
    records.write_text(
        "".join(json.dumps({"id": id, "text": f"text {id}", "answer": value}) + "\n" for id, value in answers.items())
    )
    done = run("import", path, records, "--annotator", annotator, "--store", folder / "store")
    assert done.exit_code == 0, done.output


def test_the_answers_to_a_task(tmp_path: Path) -> None:
    path = task(tmp_path, {"choice": ["sport", "war", "art"]})
    for name, answers in {
        "ann": {"1": "sport", "2": "war", "3": "art"},
        "bob": {"1": "sport", "2": "war"},
        "cy": {"1": "war", "2": "war", "3": "sport"},
        "gold": {"3": "art"},
    }.items():
        answered(tmp_path, path, name, answers)
    out = tmp_path / "o.parquet"
    done = run("aggregate", path, "--store", tmp_path / "store", "--gold", "gold", "--by", "source", "--out", out,
               "--json", "--method", "dawid_skene")  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = {row["id"]: row for row in pq.read_table(out).to_pylist()}
    assert {id: row["answer"] for id, row in rows.items()} == {"1": "sport", "2": "war", "3": "art"}
    assert (rows["3"]["gold"], rows["3"]["votes"], rows["1"]["votes"]) == ("art", 2, 3)
    report = json.loads(done.stdout)
    assert report["annotators"] == 3  # gold has no votes
    assert "gold" not in {row["annotator"] for row in report["quality"]}
    assert report["agreement"]["strata"]
    # what came out goes in as one more annotator's answers
    back = run("import", path, out, "--annotator", "aggregate", "--store", tmp_path / "store")
    assert back.exit_code == 0, back.output
    assert "3 labels of aggregate" in back.output


def test_the_answers_to_a_task_of_several_labels(tmp_path: Path) -> None:
    path = task(tmp_path, {"multi": ["sport", "war", "art"]})
    for name, answers in {
        "ann": {"1": ["sport"], "2": ["war", "art"]},
        "bob": {"1": ["sport"], "2": ["war"]},
        "cy": {"1": ["sport", "art"], "2": ["war", "art"]},
    }.items():
        answered(tmp_path, path, name, answers)
    out = tmp_path / "o.parquet"
    done = run("aggregate", path, "--store", tmp_path / "store", "--out", out, "--json", "--method", "majority")
    assert done.exit_code == 0, done.output
    rows = {row["id"]: row for row in pq.read_table(out).to_pylist()}
    assert {id: json.loads(row["answer"]) for id, row in rows.items()} == {"1": ["sport"], "2": ["war", "art"]}
    assert dict(rows["2"]["probabilities"]) == pytest.approx({"sport": 0, "war": 1, "art": 2 / 3})
    assert rows["2"]["probability"] == pytest.approx(2 / 3)
    assert [rows[id]["agreement"] for id in "12"] == pytest.approx([8 / 9, 8 / 9])
    assert {row["gold"] for row in rows.values()} == {None}
    by_gold = run("aggregate", path, "--store", tmp_path / "store", "--out", tmp_path / "g.parquet", "--gold", "bob")
    assert by_gold.exit_code == 0, by_gold.output
    told = {row["id"]: json.loads(row["gold"]) for row in pq.read_table(tmp_path / "g.parquet").to_pylist()}
    assert told == {"1": ["sport"], "2": ["war"]}
    report = json.loads(done.stdout)
    assert (report["items"], report["annotators"]) == (2, 3)
    assert report["answers"] == {"sport": 0.5, "war": 0.5, "art": 0.5}
    assert "ann: sport" in {row["annotator"] for row in report["quality"]}


def test_answers_by_a_schema_are_no_labels(tmp_path: Path) -> None:
    path = task(tmp_path, {"schema": {"type": "object"}})
    done = run("aggregate", path, "--store", tmp_path / "store")
    assert done.exit_code == 2
    assert "its answers are no labels" in done.output


def test_a_task_without_a_valid_answer_is_told(tmp_path: Path) -> None:
    path = task(tmp_path, {"choice": ["sport", "war"]})
    store = LabelStore(str(tmp_path / "store"), load_task(str(path), asks=False).fingerprint)
    store.write_task("topic", {})
    with store.open_run("r") as asked:
        asked.append(BIG, [rejected(3)])
    done = run("aggregate", path, "--store", tmp_path / "store")
    assert done.exit_code == 2
    assert "the store has no valid answer to topic" in done.output
