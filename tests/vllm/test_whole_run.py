"""A whole labelling run through ray.data.llm: a real vLLM, a real model, a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.documents import source_of
from gristmill.pipelines.label.result import LabelPlan, LabelResult
from gristmill.pipelines.label.run import label_source
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask, load_task
from gristmill.pipelines.progress.reporter import Reporter
from tests.label_model import TOPIC, cached_tiny_model, labelled_texts
from tests.pipelines.label.tasks import task_file
from tests.support import write_jsonl
from tests.vllm.test_vllm import ENGINE, ENV

pytestmark = [pytest.mark.vllm, pytest.mark.ray]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    from gristmill.pipelines.engine.ray_data import RayEngine

    opened = RayEngine(2)
    yield opened
    opened.close()


def task(folder: Path, documents: int) -> LoadedTask:
    annotator = {
        "name": "tiny",
        "engine": "vllm",
        "model": str(cached_tiny_model()),
        "engine_kwargs": ENGINE,
        "placement": {"CPU": 1},
        "env": ENV,
    }
    asked = TOPIC.model_dump(mode="json", by_alias=True) | {"text": {"max_tokens": 2000, "take": "head"}}
    sample = {"documents": documents, "seed": 1}
    return load_task(str(task_file(folder, **asked, annotators=[annotator], sample=sample, budget={"documents": 1000})))


def test_choice_with_probabilities_error_rows_and_resume(tmp_path: Path, engine: Engine) -> None:
    texts = list(dict.fromkeys(row.text[:300] for row in labelled_texts("test", 320)))[:300]  # each asked once
    documents = [{"id": f"n{i}", "text": text} for i, text in enumerate(texts)]
    documents.append({"id": "long", "text": "word " * 1500})  # of more tokens than the model looks at
    write_jsonl(tmp_path / "news.jsonl", documents)
    plans: list[LabelPlan] = []

    def run(loaded: LoadedTask) -> LabelResult:
        source = source_of(str(tmp_path / "news.jsonl"), "news", "text", "id", loaded.task.sample)
        store = str(tmp_path / "store")
        return label_source(
            loaded, store, source, engine, Reporter(quiet=True), lambda plan: plans.append(plan) is None
        )

    half = run(task(tmp_path, 150))
    everything = run(task(tmp_path, 400))
    nothing = run(task(tmp_path, 400))
    assert [plan.questions for plan in plans] == [150, 151]
    assert plans[0].forecasts[0].exact
    assert half.complete
    assert everything.annotators[0].cached == 150
    assert (everything.annotators[0].answered, everything.annotators[0].quarantined) == (300, 1)
    assert nothing.annotators[0].cached == 301
    loaded = task(tmp_path, 400)
    found = LabelStore(str(tmp_path / "store"), loaded.fingerprint).rows().to_pylist()
    assert sum("maximum" in (row["error"] or "") for row in found) == 1
    for row in found:
        if row["answer"] is not None:
            assert sum(share for _, share in row["probabilities"]) == pytest.approx(1.0, abs=1e-5)
    assert everything.spent.documents == 301
    assert everything.spent.output_tokens == 300
