"""A budget of one night: what it does not reach waits, is told, and is asked first in the next night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.schema import Annotation, AnswerRow
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.query import query
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.versions.refresh import NightResult
from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, QUIET, Told, loaded_task, task_file, topical, truth
from tests.reliability.crashes import ENDED, forked
from tests.support import write_jsonl

FIRST = date(2026, 11, 1)
A_NIGHT = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with endpoint(
        answers=ANSWERS, fails={"sealed": (400, {"error": {"message": "no", "code": "content_filter"}})}
    ) as running:
        yield running


class Crawl:
    """A crawl with a folder a night, whose documents are labelled within a budget of one night."""

    def __init__(self, folder: Path, server: Server, index: bool, **refresh: Any) -> None:
        self.folder, self.server = folder, server
        self.documents: dict[str, dict[str, Any]] = {}
        self.budget({"output_tokens": A_NIGHT})
        dedup: dict[str, Any] = {"fuzzy_dedup": {"index": {"name": "web"}} if index else {}}
        told = {
            "version": 1,
            "name": "web",
            "store": "./store",
            "sources": [{"name": "crawl", "path": "crawl/{date}/*.jsonl"}],
            "decide": ["exact_dedup", dedup],
            "label": ["task.yaml"],
            "write": {"columns": ["id", "text", "topic_answer"]},
            "refresh": refresh,
        }
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(told, sort_keys=False))

    @property
    def store(self) -> str:
        return str(self.folder / "store")

    def budget(self, night: dict[str, Any]) -> None:
        annotator = {"name": "api", "engine": "http", "base_url": self.server.url, "model": "m", "concurrency": 2} | {
            "max_output_tokens": 1
        }
        task_file(self.folder, annotators=[annotator], budget={"night": night})

    def crawl(self, day: int, n: int, part: int = 0) -> list[dict[str, Any]]:
        rows = [{**row, "id": f"{day}-{part}-{row['id']}"} for row in topical(n, seed=10 * day + part)]
        write_jsonl(self.folder / "crawl" / str(FIRST + timedelta(day)) / f"{part}.jsonl", rows)
        self.documents |= {row["id"]: row for row in rows}
        return rows

    def night(self, day: int, reporter: Reporter = QUIET, **told: Any) -> NightResult:
        return api.refresh(
            str(self.recipe), FIRST + timedelta(day), engine="local", workers=2, reporter=reporter, **told
        )

    def asked(self) -> int:
        return self.server.stats().requests

    def labels(self) -> dict[str, str]:
        rows = api.open_dataset(f"{self.store}/datasets/web").arrow().to_table().to_pylist()
        assert sorted(row["id"] for row in rows) == sorted(self.documents)
        return {row["id"]: row["topic_answer"] for row in rows if row["topic_answer"] is not None}

    def states(self) -> Counter[str]:
        rows = query(self.store, "SELECT topic_state, topic_answer FROM documents").to_pylist()
        assert all((row["topic_state"] == "answered") == (row["topic_answer"] is not None) for row in rows)
        return Counter(row["topic_state"] for row in rows)


@pytest.mark.parametrize("index", [True, False], ids=["index", "plain"])
def test_what_a_night_leaves_is_asked_first_in_the_next(index: bool, tmp_path: Path, server: Server) -> None:
    crawl = Crawl(tmp_path, server, index, since=str(FIRST))
    rows = crawl.crawl(0, 20)
    before = crawl.asked()
    first = crawl.night(0)
    assert crawl.asked() - before == A_NIGHT
    (labelled,) = first.run.labels
    assert labelled.reached == "night.output_tokens"
    left = first.run.waiting["topic"]
    assert (left.documents, left.output_tokens) == (20 - A_NIGHT, 20 - A_NIGHT)
    assert left.input_tokens > 0
    assert crawl.states() == {"answered": A_NIGHT, "waits": 20 - A_NIGHT}
    for row in (rows[0], rows[-1]):
        (found,) = api.explain(crawl.store, row["id"])
        waits = row["id"] not in crawl.labels()
        assert sentence(found["fates"][0]) == ("kept; waits for a label of topic" if waits else "kept")

    again = crawl.night(0)  # twice in one night changes nothing
    assert (again.version, again.run.waiting) == (first.version, first.run.waiting)
    assert crawl.asked() - before == A_NIGHT

    crawl.crawl(1, 6)
    second = crawl.night(1)
    assert crawl.asked() - before == 2 * A_NIGHT
    assert not {id for id in crawl.labels() if id.startswith("1-")}, "first those that wait"
    assert second.run.waiting["topic"].documents == 26 - 2 * A_NIGHT
    assert sum(crawl.states().values()) == 26
    third = crawl.night(2)
    assert (len(crawl.labels()), third.run.waiting["topic"].documents) == (24, 2)
    crawl.night(3)
    assert crawl.labels() == truth(crawl.documents.values())
    assert crawl.asked() - before == 26
    last = crawl.night(4)
    assert (last.changed, last.run.waiting) == (False, {})
    assert not verify(crawl.store, None, False, QUIET).findings


def test_a_killed_night_pays_nothing_twice_and_stays_within_its_budget(tmp_path: Path, server: Server) -> None:
    crawl = Crawl(tmp_path, server, index=True, since=str(FIRST))
    crawl.crawl(0, 20)
    before = crawl.asked()
    code, steps = forked(lambda: crawl.night(0))
    assert (code, crawl.asked() - before) == (0, A_NIGHT)
    for last in range(steps // 2, steps, steps // 5):
        (tmp_path / "store").rename(tmp_path / f"store-{last}")
        before = crawl.asked()
        assert forked(lambda: crawl.night(0), last)[0] in (ENDED, 0)
        crawl.night(0)
        store = LabelStore(crawl.store, load_task(str(tmp_path / "task.yaml")).fingerprint)
        assert store.spent().output_tokens <= A_NIGHT
        assert len(crawl.labels()) <= crawl.asked() - before <= A_NIGHT
        crawl.night(1)
        assert A_NIGHT < crawl.asked() - before <= 2 * A_NIGHT


def test_nights_that_are_not_looked_at_any_more_are_gone_on_with(tmp_path: Path, server: Server) -> None:
    """Without `since` only the night's own files are read, and what those before left is labelled all the same."""
    crawl = Crawl(tmp_path, server, index=True)
    crawl.crawl(0, 12)
    crawl.night(0)
    crawl.crawl(1, 6)
    reporter = Told()
    crawl.night(1, reporter)
    assert len([id for id in crawl.labels() if id.startswith("0-")]) == 12
    assert not reporter.warned
    (tmp_path / "crawl" / str(FIRST + timedelta(1)) / "0.jsonl").unlink()
    crawl.crawl(2, 4)
    left = crawl.night(2, reporter).run.waiting["topic"]  # texts that nobody can read any more wait, and are told
    assert left.documents == 2
    assert any("left texts without an answer that wait" in line for line in reporter.warned)
    assert len([id for id in crawl.labels() if id.startswith("2-")]) == 4
    assert all((run / "run.json").exists() for run in Path(crawl.store, "runs").iterdir())


@pytest.mark.parametrize("gone", [1, 2], ids=["a file", "all files"])
def test_a_file_that_leaves_a_night_takes_no_labels_of_others_with_it(
    gone: int, tmp_path: Path, server: Server
) -> None:
    crawl = Crawl(tmp_path, server, index=True, since=str(FIRST), vanished="withdraw", changed="withdraw")
    crawl.crawl(0, 10)
    crawl.crawl(0, 10, part=1)
    crawl.night(0)
    for part in range(gone):
        (tmp_path / "crawl" / str(FIRST) / f"{part}.jsonl").unlink()
    crawl.documents = {id: row for id, row in crawl.documents.items() if id.startswith("0-1") and gone == 1}
    crawl.crawl(1, 3)
    reporter = Told()
    for day in (1, 2, 3):
        done = crawl.night(day, reporter)
    assert crawl.labels() == truth(crawl.documents.values())
    assert done.run.waiting == {}
    assert not reporter.warned
    assert Dataset(crawl.store, "web").current == done.version


def test_texts_in_quarantine_wait_for_nothing(tmp_path: Path, server: Server) -> None:
    crawl = Crawl(tmp_path, server, index=True, since=str(FIRST))
    rows = [
        {**row, "text": f"sealed {row['text']}"} if i in (3, 11) else row for i, row in enumerate(crawl.crawl(0, 12))
    ]
    write_jsonl(tmp_path / "crawl" / str(FIRST) / "0.jsonl", rows)
    crawl.night(0)
    assert crawl.states() == {"answered": 8, "quarantined": 1, "waits": 3}
    done = crawl.night(1)
    assert crawl.states() == {"answered": 10, "quarantined": 2}
    assert done.run.waiting == {}
    before = crawl.asked()
    assert not crawl.night(2).changed
    assert crawl.asked() == before


def test_a_higher_ceiling_goes_on_in_the_same_night(tmp_path: Path, server: Server) -> None:
    crawl = Crawl(tmp_path, server, index=False, since=str(FIRST))
    crawl.crawl(0, 12)
    crawl.night(0)
    crawl.budget({"documents": 10})
    assert crawl.night(0).run.labels[0].reached == "night.documents"
    assert len(crawl.labels()) == 10


def nights(store: LabelStore, told: Sequence[tuple[int, int]]) -> list[int]:
    """Tokens that each night, by its day, had spent before it spends so many more."""
    found = []
    for day, tokens in told:
        with store.open_run() as writer:
            found.append(store.begin_night(FIRST + timedelta(day), store.spent()).input_tokens)
            spent = AnswerRow(None, 1, None, input_tokens=tokens)
            writer.reserve("api", Amount(0, tokens, 0, 0.0))
            writer.append(Annotation("api", "m", ""), [spent], Amount(0, tokens, 0, 0.0))
    return found


@pytest.mark.parametrize("place", ["disk", "memory"])
def test_each_night_has_an_account_of_its_own(place: str, tmp_path: Path) -> None:
    url = str(tmp_path) if place == "disk" else f"memory://{tmp_path.name}"
    store = LabelStore(url, "task")
    assert nights(store, [(0, 5), (0, 7), (1, 11), (0, 2), (1, 3), (1, 1)]) == [0, 5, 0, 12, 11, 14]
    store.compact()
    assert nights(store, [(1, 0), (0, 0), (2, 0)]) == [15, 14, 0]
    store.let_go()
    assert nights(store, [(1, 0), (0, 0)]) == [15, 14]


def test_a_ceiling_for_cost_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no annotator has prices"):
        loaded_task(tmp_path, budget={"night": {"cost": 1.0}})
