"""The report on a labelling task: what it shows is what SQL counts in the label store, and `labels aggregate` says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import gristmill
from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.html import task_reports
from gristmill.pipelines.html.task_reports import leave_task_report
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.report import labels
from gristmill.pipelines.report.task_facts import TaskFacts, task_facts
from gristmill.pipelines.report.verify import verify
from tests.pipelines.html.corpus import cells, number, parsed
from tests.pipelines.html.labelled import ANNOTATORS, N, labelled
from tests.pipelines.label.tasks import QUIET, Told, task_file, topical
from tests.support import write_jsonl

pytestmark = pytest.mark.xdist_group("reports")


class Labelled(NamedTuple):
    """A task that was put to documents."""

    folder: Path
    task: LoadedTask
    store: str
    facts: TaskFacts


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    folder = tmp_path_factory.mktemp("task")
    task, store = labelled(folder)
    return Labelled(folder, task, store, task_facts(task, store))


@pytest.fixture(scope="module")
def page(done: Labelled) -> Any:
    return parsed(Path(gristmill.report(done.folder / "task.yaml", done.store)).read_bytes())


def asked(done: Labelled, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in labels.query(done.store, sql).to_pylist()]


def table(page: Any, label: str) -> list[list[str]]:
    (found,) = page.xpath(f"//div[@aria-label='{label}']/table")
    return cells(found)


def test_answers_and_costs_are_those_of_the_store(done: Labelled, page: Any) -> None:
    counts = dict(asked(done, "SELECT annotator, count(*) FROM labels GROUP BY ALL"))
    invalid = dict(asked(done, "SELECT annotator, count(*) FROM quarantine GROUP BY ALL"))
    assert counts == {"good": N, "hasty": N, "stranger": 54}
    rows = {row[0]: row for row in table(page, "Annotators and what they answered")[1:]}
    assert {name: number(row[3]) for name, row in rows.items()} == counts
    assert number(rows["stranger"][4]) == invalid["stranger"] == 6
    paid = {row[0]: row for row in table(page, "Tokens and cost by annotator")[1:]}
    sql = "SELECT annotator, sum(input_tokens)::BIGINT, sum(output_tokens)::BIGINT FROM labels GROUP BY ALL"
    for name, tokens_in, tokens_out in asked(done, sql):
        if name != "stranger":  # what is not valid was paid for as well
            assert (number(paid[name][1]), number(paid[name][2])) == (tokens_in, tokens_out)


def test_the_mix_of_answers_is_counted_by_annotator_and_source(done: Labelled, page: Any) -> None:
    counts = {
        (name, answer): n
        for name, answer, n in asked(done, "SELECT annotator, answer, count(*) FROM labels GROUP BY ALL")
    }
    for name in ANNOTATORS:
        shown = {row[0]: number(row[2]) for row in table(page, f"Answers of {name}")[1:]}
        assert shown == {answer: counts[name, answer] for answer in ("physics", "biology")}
    rows = table(page, "Answers by source")
    assert sorted(row[0] for row in rows[1:]) == ["book", "mail", "web"]
    assert sum(number(row[-1]) for row in rows[1:]) == N


def test_agreement_is_that_of_labels_aggregate_and_confusions_are_counts(done: Labelled, page: Any) -> None:
    _, report = api.aggregate_labels(str(done.folder / "task.yaml"), done.store)
    text = page.xpath("string(//section[@aria-labelledby='agreement'])")
    assert f"{report['agreement']['alpha']:.3f} of all answers" in " ".join(text.split())
    kappas = {row[0]: row[1:] for row in table(page, "Agreement of each two annotators")[1:]}
    for pair in report["agreement"]["pairs"]:
        items, alike, kappa = kappas[" and ".join(pair["annotators"])]
        assert (number(items), alike, kappa) == (pair["items"], f"{pair['agreement']:.1%}", f"{pair['kappa']:.2f}")
    sql = """
        SELECT a.annotator AS a, b.annotator AS b, a.answer AS x, b.answer AS y, count(*) AS n
        FROM labels a JOIN labels b USING (content_id)
        WHERE a.annotator < b.annotator GROUP BY ALL
    """
    expected = {tuple(row[:4]): row[4] for row in asked(done, sql)}
    assert len(done.facts.compared) == 3
    for each in done.facts.compared:
        assert np.trace(each.counts) / each.counts.sum() == pytest.approx(
            next(p["agreement"] for p in report["agreement"]["pairs"] if p["annotators"] == [each.first, each.second])
        )
        for i, first in enumerate(each.labels):
            for j, second in enumerate(each.labels):
                assert each.counts[i, j] == expected.get((each.first, each.second, first, second), 0)
        shown = table(page, f"Answers of {each.second} by those of {each.first}")
        assert [number(row[-1]) for row in shown[1:]] == each.counts.sum(axis=1).tolist()


def test_what_waits_and_what_is_left_of_the_budget_add_up(done: Labelled, page: Any) -> None:
    (waits,) = done.facts.waiting.items()
    assert (waits[0], waits[1].documents) == ("stranger", 30)
    assert waits[1].input_tokens == round(30 * 3180 / 60)
    ceilings = {row[0]: row for row in table(page, "Ceilings and what is left")[1:]}
    assert [number(cell) for cell in ceilings["texts"][2:]] == [240, 240, 0]
    assert [number(cell) for cell in ceilings["texts, of the last night"][2:]] == [240, 500, 260]
    (night,) = done.facts.nights.values()
    assert night == done.facts.spent
    assert number(table(page, "Spent by night")[1][1]) == 240


def test_quarantine_is_told_by_reason_with_what_was_answered(done: Labelled, page: Any) -> None:
    reasons = asked(done, "SELECT annotator, error, count(*) FROM quarantine GROUP BY ALL")
    rows = table(page, "Answers that are not valid, by reason")[1:]
    assert [(row[0], row[1], number(row[2])) for row in rows] == reasons
    some = table(page, "Answers in quarantine")[1:]
    assert len(some) == 6
    assert {row[3] for row in some} == {"neither of the two"}


def test_examples_are_texts_with_their_answers_and_those_that_annotators_differ_on(done: Labelled, page: Any) -> None:
    section = page.xpath("//section[@aria-labelledby='examples']")[0]
    texts = {row["id"]: row["text"] for row in topical(N)}
    titles = [" ".join(title.text_content().split()) for title in section.xpath(".//summary")]
    assert titles == ["annotators differ most", "answer physics, by chance", "answer biology, by chance"]
    differing, physics, _ = section.xpath("./details")
    for figure in section.xpath(".//figure"):
        id = figure.xpath(".//figcaption/span[1]")[0].text_content()
        assert figure.xpath("./p")[0].text_content() == texts[id][:600] + (" …" if len(texts[id]) > 600 else "")
    ids = [figure.xpath(".//figcaption/span[1]")[0].text_content() for figure in differing.xpath("./figure")]
    assert done.facts.items is not None
    agreement = {row["id"]: row["agreement"] for row in done.facts.items.to_pylist()}
    assert len(ids) == 9
    assert sorted(agreement[id] for id in ids) == sorted(agreement.values())[:9]
    assert len(physics.xpath("./figure")) == 3


def test_gristmill_label_leaves_a_page_without_texts_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"engine": "keywords", "words": {"physics": ["physics"], "biology": ["biology", "nowhere"]}}
    task_file(tmp_path, annotators=[{"name": "words", **words}])
    write_jsonl(tmp_path / "docs.jsonl", [*topical(20), {"id": "other", "text": "nothing of either"}])
    told = CliRunner().invoke(app, ["label", "task.yaml", "--input", "docs.jsonl", "-y"], env={"COLUMNS": "300"})
    assert told.exit_code == 0, told.output
    (report,) = (tmp_path / "store").rglob("report.html")
    assert report.parent.parent.name == "labels"
    assert f"report   {report}" in told.stdout
    left = report.read_bytes()
    assert not re.search(rb"number \d+ of 0 on", left)
    assert b"it abstains" in left
    again = CliRunner().invoke(app, ["report", "task.yaml"])
    assert again.exit_code == 0, again.output
    assert len(re.findall(rb"number \d+ of 0 on", report.read_bytes())) == 9 + 6, "the least sure, and some of each"
    assert gristmill.report("task.yaml", examples=0, out=str(tmp_path / "o.html"))
    assert (tmp_path / "o.html").read_bytes() == left, "the same facts give the same bytes"
    assert not verify(str(tmp_path / "store"), None, False, QUIET).findings
    (tmp_path / "docs.jsonl").unlink()
    gristmill.report("task.yaml")
    assert b"could not be read again" in report.read_bytes()


def test_of_very_many_answers_agreement_is_left_to_the_command(
    done: Labelled, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = task_facts(done.task, done.store, most=10)
    assert facts.no_agreement == (
        "there are 234 answers; `gristmill report TASK`, with the file of the task, takes the time for it"
    )
    assert facts.mix == done.facts.mix
    monkeypatch.setattr(task_reports, "_MOST_ANSWERS", 10)
    url = leave_task_report(done.task, done.store, QUIET)
    assert url is not None
    assert "is not told: there are 234 answers" in Path(url).read_text()


def test_a_page_that_cannot_be_made_fails_nothing(done: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("no room\nat all")

    monkeypatch.setattr(task_reports, "task_facts", fail)
    told = Told()
    assert leave_task_report(done.task, done.store, told) is None
    (warning,) = told.warned
    assert warning.startswith("! the report could not be made: no room at all. `gristmill report ")


@pytest.mark.parametrize(
    ("answer", "given"),
    [
        ({"scale": [0, 3]}, {"a": [0, 3, 1], "b": [1, 3, 1]}),
        ({"multi": ["x", "y"]}, {"a": [["x"], [], ["x", "y"]], "b": [["x"], ["y"], []]}),
        ({"schema": {"type": "object"}}, {"a": [{}, {"x": 1}, {}]}),
    ],
)
def test_other_kinds_of_answers_have_pages_too(tmp_path: Path, answer: Any, given: dict[str, list[Any]]) -> None:
    path = task_file(tmp_path, answer=answer)
    for name, answers in given.items():
        rows = [{"id": str(i), "text": f"text {i}", "answer": value} for i, value in enumerate(answers)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
        arguments = ["labels", "import", str(path), str(tmp_path / f"{name}.jsonl"), "--annotator", name]
        done = CliRunner().invoke(app, [*arguments, "--store", str(tmp_path / "store")])
        assert done.exit_code == 0, done.output
    page = parsed(Path(gristmill.report(path, tmp_path / "store")).read_bytes())
    if "schema" in answer:
        assert "its answers are no labels" in page.text_content()
        return
    shown = {row[0]: number(row[2]) for row in table(page, "Answers of a")[1:]}
    labels_of_a = [
        label for value in given["a"] for label in ((value or ["(none)"]) if isinstance(value, list) else [str(value)])
    ]
    assert {label: n for label, n in shown.items() if n} == {label: labels_of_a.count(label) for label in labels_of_a}
    assert table(page, "Agreement of each two annotators")


def test_a_task_without_labels_and_a_file_that_is_neither_are_refused(tmp_path: Path) -> None:
    path = task_file(tmp_path)
    with pytest.raises(RecipeError, match=r"has no labels of this task .* `gristmill label` makes them"):
        gristmill.report(path, tmp_path / "store")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"version": 1}))
    with pytest.raises(RecipeError, match=r"other\.yaml"):
        gristmill.report(tmp_path / "other.yaml", tmp_path / "store")
    with pytest.raises(RecipeError, match=r"there is no report .*m\.bin\.report\.json; `gristmill distil`"):
        gristmill.report(tmp_path / "m.bin")
