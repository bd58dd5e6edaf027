"""Three weeks of nights with all that happens in them, and the dataset that one run over the last files gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gristmill import api
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.versions import publishing
from gristmill.pipelines.versions.refresh import NightResult
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_fuzzy_dedup import document
from tests.pipelines.versions.stores import store_of, write_recipe
from tests.reliability.command import ROOT
from tests.support import sentences, write_jsonl

FIRST = date(2026, 11, 1)
#: A refresh that ends, as by SIGKILL, before one of its steps that change the disk: recipe, night, step.
KILLED = """
import sys
from datetime import date
from gristmill import api
from tests.reliability.crashes import Steps

recipe, night, step = sys.argv[1:]
loaded = api.load_recipe(recipe)
Steps(int(step)).install()
api.refresh(loaded, date.fromisoformat(night), engine="local", workers=1)
"""
WEB = {"vanished": "withdraw", "changed": "withdraw", "since": str(FIRST), "guards": {"kept": {"min": 0.6}}}


class Nights:
    """The files of a crawl, and the nights that take them in."""

    def __init__(self, folder: Path, decide: list[Any], refresh: dict[str, Any]) -> None:
        sources = [{"name": "crawl", "path": "crawl/{date}/*.jsonl"}]
        self.recipe = write_recipe(folder, decide, sources=sources, refresh=refresh, limits={"rejects": 0.9})
        self.folder = folder

    def file(self, day: int, part: int) -> Path:
        return self.folder / "crawl" / f"2026-11-{day:02d}" / f"{part}.jsonl"

    def crawl(self, day: int, short: int = 0) -> None:
        """Two files: new documents, one short, an exact and a near copy of documents of two earlier nights."""
        for part in range(2):
            texts = [sentences(1000 * day + 100 * part + i, 70) for i in range(6)]
            if part and day > 3:
                texts += [
                    sentences(1000 * (day - 1) + 2, 70),
                    sentences(1000 * (day - 2) + 3, 70) + "\nAnd one more word.",
                ]
            rows = [document(f"{day}-{part}-{i}", text) for i, text in enumerate([*texts, f"{day} {part}"])]
            rows += [document(f"short-{day}-{part}-{i}", f"{day} {part} {i}") for i in range(short)]
            write_jsonl(self.file(day, part), rows)

    def night(self, day: int) -> NightResult:
        return api.refresh(str(self.recipe), FIRST.replace(day=day), engine="local", workers=2)

    def killed(self, day: int, step: int) -> None:
        """A night that is ended in the middle, if it has so many steps."""
        line = [sys.executable, "-c", KILLED, str(self.recipe), str(FIRST.replace(day=day)), str(step)]
        ended = subprocess.run(line, cwd=ROOT, capture_output=True, timeout=300)
        assert ended.returncode == 77, ended.stderr.decode()


class Readers(threading.Thread):
    """Readers who follow CURRENT all the time: each finds a whole version."""

    def __init__(self, store: str) -> None:
        super().__init__()
        self.store, self.read, self.wrong, self.over = store, 0, list[str](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            try:
                name = Path(self.store, "datasets", "web", "CURRENT").read_text().strip()
            except FileNotFoundError:
                continue
            if name:
                manifest = json.loads(Path(self.store, "datasets", "web", name, "manifest.json").read_text())
                rows = api.open_dataset(f"{self.store}/datasets/web", name).arrow().to_table(columns=["id"])
                if len(rows) != manifest["rows"]:
                    self.wrong.append(f"{name}: {len(rows)} of {manifest['rows']}")
                self.read += 1


@pytest.mark.parametrize("index", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["index", "plain"])
def test_three_weeks_end_as_one_run_over_the_last_files(index: bool, tmp_path: Path) -> None:
    dedup = {"fuzzy_dedup": {"keep": "first", **({"index": {"name": "web"}} if index else {})}}
    decide = [{"drop": {"when": "gopher_words < 5", "name": "short"}}, "exact_dedup", dedup]
    web = {**WEB, "vanished": "withdraw" if index else None, "changed": "withdraw" if index else None}
    nights = Nights(tmp_path, decide, web)
    store = store_of(nights.recipe)
    readers = Readers(store)
    readers.start()
    try:
        for day in range(1, 22):
            nights.crawl(day, short=60 if day == 14 else 0)
            if day == 6:  # a file is written again: some of its documents, and others
                rows = [document(f"3-0-{i}", sentences(3000 + i, 70)) for i in (0, 5)]
                write_jsonl(nights.file(3, 0), [*rows, document("3-new", sentences(77_000, 70))])
            if day == 8:  # one is gone
                nights.file(2, 0).unlink()
            if day == 10:  # records are damaged
                with open(nights.file(10, 0), "a") as file:
                    file.write('{"id": "x"}\nnot a record\n')
            if day == 15 and not index:  # a person takes the junk out of the file that a guard stopped
                nights.crawl(14)
            if day == 12:  # the night does not take place
                continue
            if day in (11, 19):  # the night is killed, and done again
                nights.killed(day, 30 if day == 11 else 130)
            done = nights.night(day)
            assert done.published == (day not in ((14, 15) if index else (14,))), done.held
            if day == 13:
                assert done.documents[1] - done.documents[0] == 24  # the missed night is made up
            if day == 15 and index:  # a person looks at what the guard stopped, and takes it as it is
                publishing.publish(store, "web", done.version)
            if day == 17:  # a person goes back, and the next night goes on
                before = Dataset(store, "web").current
                publishing.roll_back(store, "web")
                assert not nights.night(day).published
                assert Dataset(store, "web").current != before
            if day in (1, 6, 8, 11, 14, 17):  # once more in the same night
                again = nights.night(day)
                assert (again.changed, again.run.cached) == (day in (14, 17), True)
    finally:
        readers.over.set()
        readers.join()
    assert not readers.wrong
    assert readers.read > 20
    assert not verify(store, None, False, Reporter(quiet=True)).findings

    plain = {"fuzzy_dedup": {"keep": "first"}}
    sources = [{"name": "crawl", "path": "crawl/*/*.jsonl"}]
    once = write_recipe(
        tmp_path, [decide[0], "exact_dedup", plain], sources=sources, store="./once", limits={"rejects": 0.9}
    )
    execute(once)
    key = ["id", "text"]
    found = (
        api.open_dataset(f"{store}/datasets/web")
        .arrow()
        .to_table(columns=key)
        .sort_by([(name, "ascending") for name in key])
    )
    expected = api.open_dataset(once.parent / "once" / "datasets" / "web").arrow().to_table(columns=key)
    assert found.equals(expected.sort_by([(name, "ascending") for name in key]))
    (*_, gone) = api.explain(store, "2-0-1")
    assert sentence(gone["fates"][0]).startswith("withdrawn: crawl/2026-11-02/0.jsonl is gone")
    (*_, copy) = api.explain(store, "9-1-6")
    assert copy["fates"][0]["survivor_id"] == "8-0-2"
