"""Reports beside models: they hold what the reports in JSON say, from the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gristmill
from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.html.model_page import loop_page, student_page
from gristmill.pipelines.html.model_reports import leave_model_report
from gristmill.pipelines.label.aggregate import wilson
from gristmill.pipelines.train.student_report import cut_rows
from tests.pipelines.html.corpus import cells, number, parsed
from tests.pipelines.label.tasks import Told
from tests.pipelines.train.topics import examples, table
from tests.support import write_jsonl

pytestmark = pytest.mark.xdist_group("reports")
_FIRST = {
    "round": 1,
    "asked": 200,
    "measure": "macro-F1",
    "tested": 60,
    "random_labels": 100,
    "random": [0.5, 0.4, 0.6],
}
#: The figures of two rounds of a loop.
ROUNDS = [
    _FIRST,
    {**_FIRST, "round": 2, "asked": 300, "random_labels": 150, "random": [0.6, 0.5, 0.7], "sampled_labels": 150}
    | {"sampled": [0.7, 0.6, 0.8], "ahead": [0.1, 0.02, 0.2]},
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("model")
    made = examples(300, source=lambda topic, draw: draw.choice(["web", "<b>book"]))
    report = api.distil(str(folder / "topic.bin"), table=table(folder / "t.parquet", made), by=["source"])
    return folder / "topic.bin", report


@pytest.fixture(scope="module")
def page(student: tuple[Path, dict[str, Any]]) -> Any:
    return parsed(Path(f"{student[0]}.report.html").read_bytes())


def shown(page: Any, label: str) -> list[list[str]]:
    (found,) = page.xpath(f"//div[@aria-label='{label}']/table")
    return cells(found)


def test_reliability_is_that_of_the_report_with_intervals(student: tuple[Path, dict[str, Any]], page: Any) -> None:
    rows = student[1]["test"]["calibration"]["reliability"]
    expected = []
    for row in rows:
        low, high = wilson(round(row["right"] * row["n"]), row["n"])
        expected.append([*(f"{v:.3f}" for v in (row["confidence"], row["right"], low, high)), f"{row['n']:,}"])
    assert shown(page, "Reliability")[1:] == expected
    (chart,) = page.xpath("//article[h3='Reliability']/*[local-name()='svg']")
    assert len(chart.xpath(".//*[local-name()='circle']")) == len(rows)


def test_limits_and_cuts_are_those_of_the_curves(student: tuple[Path, dict[str, Any]], page: Any) -> None:
    for name, curve in student[1]["curves"].items():
        rows = shown(page, f"Limits of {name}")[1:]
        ordered = sorted(curve["rows"], key=lambda row: row["threshold"])
        assert [row[0] for row in rows] == [f"{row['threshold']:.4g}" for row in ordered]
        assert len(page.xpath(f"//article[h3='{name}']/*[local-name()='svg']/*[local-name()='polyline']")) == 3
    assert shown(page, "Cuts")[1:] == cut_rows(student[1]["curves"])


def test_confusion_labels_and_strata_are_those_of_the_report(student: tuple[Path, dict[str, Any]], page: Any) -> None:
    report = student[1]
    rows = shown(page, "Answers by what is right")[1:]
    assert [[number(cell.split(" ")[0]) for cell in row[1:-1]] for row in rows] == report["test"]["confusion"]
    assert [row[0] for row in shown(page, "Table of labels")[1:]] == report["labels"]
    strata = {row[0]: number(row[4]) for row in shown(page, "Figures by source")[1:]}
    assert strata == {row["stratum"]: row["texts"] for row in report["strata"]["source"]["rows"]}
    assert [number(row[0]) for row in shown(page, "Quality by examples")[1:]] == [
        row["examples"] for row in report["learning_curve"]
    ]


def test_the_page_is_made_again_of_the_report_in_json(student: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    path, report = student
    left = Path(f"{path}.report.html").read_bytes()
    assert student_page(json.loads(json.dumps(report))) == left
    out = tmp_path / "page.html"
    told = CliRunner().invoke(app, ["report", str(path), "--out", str(out)])
    assert told.exit_code == 0, told.output
    assert out.read_bytes() == left
    (tmp_path / "m.bin.report.json").write_text("[]")
    with pytest.raises(RecipeError, match=r"m\.bin\.report\.json is no report of `gristmill distil` or `train`"):
        gristmill.report(tmp_path / "m.bin")


def test_a_page_that_cannot_be_made_leaves_none_of_before(tmp_path: Path) -> None:
    (tmp_path / "m.bin.report.html").write_text("of another model")
    told = Told()
    assert leave_model_report({"curves": {}}, str(tmp_path / "m.bin"), told) is None
    assert "! the report could not be made: 'test'. `gristmill report" in told.warned[0]
    assert not (tmp_path / "m.bin.report.html").exists()


def classifier_report(folder: Path) -> Path:
    """The page that `gristmill train quality` leaves, of texts whose ids are hostile."""
    made = examples(300)
    for name, labels in (("good", {"law"}), ("bad", {"sport", "food"})):
        rows = [{"id": f"<u>{i}", "text": row["text"]} for i, row in enumerate(made) if row["label"] in labels]
        write_jsonl(folder / f"{name}.jsonl", rows)
    sides = ["--positive", str(folder / "good.jsonl"), "--negative", str(folder / "bad.jsonl")]
    small = ["--dim", "8", "--buckets", "1000", "--epochs", "2", "--holdout", "0.3"]
    command = ["train", "quality", *sides, "--out", str(folder / "q.bin"), *small]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    assert f"the page {folder / 'q.bin'}.report.html has more" in done.stdout
    return folder / "q.bin.report.html"


def test_a_classifier_of_two_kinds_has_a_page(tmp_path: Path) -> None:
    page = parsed(classifier_report(tmp_path).read_bytes())
    report = json.loads((tmp_path / "q.bin.report.json").read_text())
    rows = shown(page, "Limits of __label__hq")[1:]
    assert [row[0] for row in rows] == [f"{row['threshold']:.4g}" for row in report["thresholds"]]
    counted = sum(number(row[4]) for row in shown(page, "Reliability")[1:])
    assert counted == report["positive"]["held_out"] + report["negative"]["held_out"]
    assert [number(row[1]) for row in shown(page, "Documents of both kinds")[1:]] == [
        report[side]["trained"] for side in ("positive", "negative")
    ]
    assert len(page.xpath("//section[@aria-labelledby='mistakes']//figure")) == len(report["mistakes"])


def test_the_rounds_of_a_loop_are_a_line_for_each_side() -> None:
    page = parsed(loop_page(ROUNDS, "m.bin", "uncertainty"))
    (chart,) = page.xpath("//*[local-name()='svg']")
    assert len(chart.xpath(".//*[local-name()='polyline']")) == 2
    assert len(chart.xpath(".//*[local-name()='circle']")) == 4
    assert shown(page, "Table of rounds")[2] == [
        "2", "300", "150", "0.700 (0.600 to 0.800)", "150", "0.600 (0.500 to 0.700)", "+0.100 (+0.020 to +0.200)",
    ]  # fmt: skip
    assert parsed(loop_page([], "m.bin", "random")).xpath("//main")
