"""Labelling runs as a whole, with a backend in this process and with a failing endpoint."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import FatalError
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.pipelines.label.budget import NOTHING
from gristmill.pipelines.label.export import export_labels
from gristmill.pipelines.label.result import LabelPlan, LabelResult
from gristmill.pipelines.label.run import label
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.report import labels as label_views
from tests.pipelines.label.endpoint import endpoint
from tests.pipelines.label.tasks import QUIET, Scripted, loaded_task, right, scanned, topical, truth


def run(
    folder: Path, task: LoadedTask, documents: list[dict[str, Any]], backend: Scripted | None = None, yes: bool = True
) -> LabelResult:
    found = scanned(folder, documents, task)
    options = {} if backend is None else {"opener": backend}
    return label(task, str(folder / "store"), found, QUIET, lambda plan: yes, **options)


def answers(folder: Path, task: LoadedTask) -> dict[str, str]:
    out = folder / "labels.parquet"
    export_labels(str(folder / "store"), task.fingerprint, str(out))
    table = pq.read_table(out)
    return dict(zip(table["id"].to_pylist(), table["answer"].to_pylist(), strict=True))


def test_every_document_gets_its_answer_and_none_is_asked_again(tmp_path: Path) -> None:
    task, documents = loaded_task(tmp_path), topical(300)
    backend = Scripted()
    result = run(tmp_path, task, documents, backend)
    assert result.complete
    assert result.annotators[0].answered == len(backend.asked) == 300
    assert answers(tmp_path, task) == truth(documents)
    again = Scripted()
    result = run(tmp_path, task, documents + topical(20, seed=1), again)
    assert result.annotators[0].cached == 300
    assert len(again.asked) == 20


def test_the_same_text_is_asked_once_and_exported_for_every_id(tmp_path: Path) -> None:
    task, documents = loaded_task(tmp_path), topical(40)
    copies = [{**row, "id": f"copy-{row['id']}"} for row in documents]
    backend = Scripted()
    result = run(tmp_path, task, documents + copies, backend)
    assert (result.documents, result.texts, len(backend.asked)) == (80, 40, 40)
    assert answers(tmp_path, task) == truth(documents + copies)


def test_a_changed_sample_pays_only_for_what_is_new(tmp_path: Path) -> None:
    documents = topical(300)
    small = loaded_task(tmp_path, sample={"documents": 90, "by": "stratified", "columns": ["source"]})
    first = Scripted()
    run(tmp_path, small, documents, first)
    counted = Counter(next(d["source"] for d in documents if d["text"] == q.document) for q in first.asked)
    assert counted == {"web": 30, "book": 30, "mail": 30}
    top = loaded_task(tmp_path, sample={"documents": 90, "by": "top", "score": "score"})
    second = Scripted()
    run(tmp_path, top, documents, second)
    best = {d["text"] for d in documents[-90:]}
    assert {q.document for q in second.asked} == best - {q.document for q in first.asked}
    assert small.fingerprint == top.fingerprint


def test_another_instruction_is_another_task(tmp_path: Path) -> None:
    documents = topical(20)
    run(tmp_path, loaded_task(tmp_path), documents, Scripted())
    backend = Scripted()
    run(tmp_path, loaded_task(tmp_path, instruction="Which science is it?"), documents, backend)
    assert len(backend.asked) == 20


def test_ids_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("d00003\n\nd00017\n")
    task = loaded_task(tmp_path, sample={"import": "ids.txt"})
    run(tmp_path, task, topical(30), Scripted())
    assert answers(tmp_path, task).keys() == {"d00003", "d00017"}


def test_a_cluster_sample_reads_texts(tmp_path: Path) -> None:
    task = loaded_task(tmp_path, sample={"documents": 20, "by": "cluster", "clusters": 5})
    result = run(tmp_path, task, topical(200), Scripted())
    assert result.annotators[0].answered == 20


def test_an_answer_that_is_not_valid_is_repaired_once_and_then_in_quarantine(tmp_path: Path) -> None:
    task, documents = loaded_task(tmp_path), topical(60)

    def say(question: Question) -> Reply:
        number = int(question.document.split()[1])
        stubborn = number % 10 == 0
        if stubborn or (question.rejected is None and number % 3 == 0):
            return Reply(question.key, Completion("I'd rather not", None, None, 50, 4))
        return right(question)

    backend = Scripted(say)
    result = run(tmp_path, task, documents, backend).annotators[0]
    repairs = [q for q in backend.asked if q.rejected is not None]
    assert all(q.rejected and q.rejected.raw == "I'd rather not" for q in repairs)
    wrong_first = sum(i % 10 == 0 or i % 3 == 0 for i in range(60))
    assert len(repairs) == wrong_first
    assert (result.quarantined, result.repaired, result.answered) == (6, wrong_first - 6, 54)
    held = label_views.query(str(tmp_path / "store"), "SELECT raw, error FROM quarantine").to_pylist()
    assert len(held) == 6
    assert held[0]["raw"] == "I'd rather not"
    assert "none of" in held[0]["error"]
    again = Scripted(say)
    assert run(tmp_path, task, documents, again).complete
    assert not again.asked


def test_a_refused_document_goes_to_quarantine_with_the_reason(tmp_path: Path) -> None:
    task = loaded_task(tmp_path)

    def say(question: Question) -> Reply:
        return (
            Reply(question.key, None, "too long for the model", lasting=True)
            if "number 7 " in question.document
            else right(question)
        )

    result = run(tmp_path, task, topical(20), Scripted(say))
    assert (result.annotators[0].quarantined, result.annotators[0].answered) == (1, 19)
    (held,) = label_views.query(str(tmp_path / "store"), "SELECT error FROM quarantine").to_pylist()
    assert held["error"] == "too long for the model"


def test_what_has_no_answer_is_told_and_asked_the_next_time(tmp_path: Path) -> None:
    task, documents = loaded_task(tmp_path), topical(30)
    result = run(
        tmp_path,
        task,
        documents,
        Scripted(lambda q: Reply(q.key, None, "HTTP 503") if "number 4 " in q.document else right(q)),
    )
    assert not result.complete
    assert (result.annotators[0].unanswered, result.annotators[0].first_failure) == (1, "HTTP 503")
    backend = Scripted()
    assert run(tmp_path, task, documents, backend).complete
    assert len(backend.asked) == 1


def test_a_backend_that_dies_loses_nothing_that_it_said(tmp_path: Path) -> None:
    task, documents = loaded_task(tmp_path), topical(600)
    said: list[bytes] = []

    def say(question: Question) -> Reply:
        if len(said) == 300:
            raise FatalError("the endpoint is gone")
        said.append(question.key)
        return right(question)

    with pytest.raises(FatalError, match="gone"):
        run(tmp_path, task, documents, Scripted(say))
    stored = LabelStore(str(tmp_path / "store"), task.fingerprint).rows()
    batches = len(said) // 256 * 256  # of a backend that raises, the batch that it was at is lost
    assert stored.num_rows >= batches > 0
    backend = Scripted()
    assert run(tmp_path, task, documents, backend).complete
    assert len(backend.asked) == 600 - stored.num_rows


def test_what_an_endpoint_refused_is_not_spent(tmp_path: Path) -> None:
    with endpoint(answers={"physics": "A", "biology": "B"}, api_key="sesame") as server:
        annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "api_key": "wrong"}
        task = loaded_task(tmp_path, annotators=[annotator])
        with pytest.raises(FatalError, match="api_key"):
            run(tmp_path, task, topical(300))
    store = LabelStore(str(tmp_path / "store"), task.fingerprint)
    assert store.spent() == NOTHING
    assert not store.unanswered().num_rows


def test_the_forecast_comes_before_the_first_question_and_a_no_asks_nothing(tmp_path: Path) -> None:
    task = loaded_task(
        tmp_path, prices={"api": {"input_per_million": 2.0, "output_per_million": 8.0}}, budget={"cost": 5.0}
    )
    documents = topical(200)
    run(tmp_path, task, documents[:50], Scripted())
    plans: list[LabelPlan] = []
    backend = Scripted()
    found = scanned(tmp_path, documents, task)

    def confirm(plan: LabelPlan) -> bool:
        assert not backend.asked
        plans.append(plan)
        return False

    result = label(task, str(tmp_path / "store"), found, QUIET, confirm, backend)
    assert result.declined
    assert not backend.asked
    (forecast,) = plans[0].forecasts
    assert (forecast.known, forecast.asked, forecast.exact) == (50, 150, False)
    assert forecast.cost == pytest.approx((2 * forecast.input_tokens + 8 * forecast.output_tokens) / 1e6)
    assert plans[0].spent.documents == 50


@pytest.mark.parametrize(
    "budget",
    [{"documents": 70}, {"input_tokens": 15_000}, {"output_tokens": 300}, {"cost": 0.015}],
    ids=lambda budget: next(iter(budget)),
)
def test_a_ceiling_ends_the_run_and_holds_over_all_runs(tmp_path: Path, budget: dict[str, Any]) -> None:
    keys = {"prices": {"api": {"input_per_million": 1.0, "output_per_million": 10.0}}}
    task, documents = loaded_task(tmp_path, budget=budget, **keys), topical(400)
    (ceiling,) = budget
    first = run(tmp_path, task, documents, Scripted())
    second = run(tmp_path, task, documents, Scripted())
    assert first.reached == second.reached == ceiling
    assert not second.complete
    for result in (first, second):
        assert 0 < getattr(result.spent, ceiling) <= budget[ceiling]
    raised = loaded_task(tmp_path, budget={ceiling: 100_000_000}, **keys)
    backend = Scripted()
    assert run(tmp_path, raised, documents, backend).complete
    assert len(backend.asked) == 400 - second.annotators[0].answered


def test_two_annotators_share_a_budget(tmp_path: Path) -> None:
    annotators = [
        {"name": name, "engine": "http", "base_url": "http://127.0.0.1:9/v1", "model": "m"} for name in ("a", "b")
    ]
    task = loaded_task(tmp_path, annotators=annotators, budget={"documents": 150})
    result = run(tmp_path, task, topical(100), Scripted())
    assert [annotator.answered for annotator in result.annotators] == [100, 50]
    assert result.reached == "documents"


def test_a_failing_endpoint_and_a_tight_budget(tmp_path: Path) -> None:
    faults = {
        "reset": 0.03,
        "truncated": 0.03,
        "error_text": 0.05,
        "rate_limited": 0.03,
        "wrong_label": 0.05,
        "prose": 0.05,
    }
    documents = topical(400)
    with endpoint(plan=faults, seed=2, delay=0.002) as server:
        annotators = [{"name": "api", "engine": "http", "base_url": server.url, "model": "m", "concurrency": 32}]
        keys: dict[str, Any] = {"annotators": annotators, "prices": {"api": {"input_per_million": 1.0}}}
        server.change(answers={"physics": "A", "biology": "B"})
        short = loaded_task(tmp_path, budget={"input_tokens": 30_000}, **keys)
        result = run(tmp_path, short, documents)
        assert result.reached == "input_tokens"
        assert 15_000 < result.spent.input_tokens <= 30_000
        task = loaded_task(tmp_path, budget={"input_tokens": 10_000_000}, **keys)
        result = run(tmp_path, task, documents)
        stats = server.stats()
    assert result.complete
    assert answers(tmp_path, task) == truth(documents)
    assert not any(seen.asked_after_success - seen.spoilt > 0 for seen in stats.documents.values())
    assert stats.most_in_flight <= 32


def test_long_texts_are_cut_and_the_cut_is_stored(tmp_path: Path) -> None:
    task = loaded_task(tmp_path, text={"max_tokens": 50, "take": "head"})
    documents = topical(10)
    documents[3]["text"] += " and so on" * 500
    backend = Scripted()
    run(tmp_path, task, documents, backend)
    rows = LabelStore(str(tmp_path / "store"), task.fingerprint).rows()
    cut = rows.filter(pc.greater(rows["cut_tokens"], 0))
    assert cut.num_rows >= 1
    assert max(rows["cut_tokens"].to_pylist()) > 800
    assert max(len(question.document) for question in backend.asked) < 600


def test_a_shard_that_changes_is_an_error_that_names_it(tmp_path: Path) -> None:
    task = loaded_task(tmp_path)
    found = scanned(tmp_path, topical(20), task)
    path = tmp_path / "data" / "docs-0.jsonl"
    path.write_text(path.read_text().replace("physics", "history"))
    with pytest.raises(Exception, match="docs-0"):
        label(task, str(tmp_path / "store"), found, QUIET, lambda plan: True, Scripted())


def test_secrets_are_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_KEY", "sesame-open")
    annotator = {
        "name": "api",
        "engine": "http",
        "base_url": "http://127.0.0.1:9/v1",
        "model": "m",
        "api_key": "${LABEL_KEY}",
    }
    task = loaded_task(tmp_path, annotators=[annotator])
    run(tmp_path, task, topical(5), Scripted())
    kept = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert b"sesame-open" not in kept
    assert b"${LABEL_KEY}" in kept


def test_rejects_are_counted(tmp_path: Path) -> None:
    task = loaded_task(tmp_path)
    rows: list[dict[str, Any]] = [*topical(4), {"id": "x"}]
    result = run(tmp_path, task, rows, Scripted())
    assert result.rejects == 1
    assert "docs-1.jsonl:3" in result.first_reject
