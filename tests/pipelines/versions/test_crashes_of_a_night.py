"""A night that ends before any of its writes, and is done again: the bytes of an undisturbed one, whole for readers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from gristmill import api
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.versions import publishing
from tests.pipelines.test_fuzzy_dedup import document
from tests.pipelines.versions.test_three_weeks import FIRST, Nights
from tests.reliability.crashes import ENDED, committed, forked, load_kernels
from tests.support import sentences, write_jsonl

#: The night that is ended: what it finds, its guards, and whether they let it pass.
LAST = 5
CASES = ("index", "plain", "held back")


def prepared(folder: Path, case: str) -> Nights:
    """Four nights, one of them tagged, and a fifth with files that are new, gone, changed and damaged."""
    index = {"index": {"name": "web"}} if case != "plain" else {}
    decide: list[Any] = [{"drop": {"when": "gopher_words < 5", "name": "short"}}, "exact_dedup", {"fuzzy_dedup": index}]
    guards = {
        "kept": {"min": 0.95 if case == "held back" else 0.3},
        "rejects": 0.5,
        "source_loss": 0.9,
        "drift": {"psi": 0.5, "measures": ["gopher_words"]},
        "canaries": {"stay": ["1-1-0"], "go": ["spam"]},
    }
    policies = {"vanished": "withdraw", "changed": "withdraw"} if index else {}
    hooks = {"before": "echo begun >> told.jsonl", "after": "cat >> told.jsonl; echo >> told.jsonl"}
    refresh = {"since": str(FIRST), "guards": {}, "keep": {"nightly": 2}, **policies}
    folder.mkdir()
    nights = Nights(folder, decide, refresh)
    for day in range(1, LAST):
        nights.crawl(day)
        nights.night(day)
        if day == 2:
            publishing.tag(str(folder / "store"), "web", "kept")
    written = yaml.safe_load(nights.recipe.read_text())
    nights.recipe.write_text(
        yaml.safe_dump({**written, "refresh": refresh | hooks | {"guards": guards}}, sort_keys=False)
    )
    nights.crawl(LAST)
    nights.file(2, 0).unlink()
    rows = [document(f"3-0-{i}", sentences(3000 + i, 70)) for i in (0, 5)]
    write_jsonl(nights.file(3, 0), [*rows, document("3-new", sentences(77_000, 70))])
    with open(nights.file(LAST, 0), "a") as file:
        file.write('{"id": "x"}\nnot a record\n')
    return nights


def found(nights: Nights) -> dict[str, bytes]:
    """What the store holds, but for the records of runs, which tell times; and which runs there are."""
    runs = sorted(path.name for path in (nights.folder / "store" / "runs").iterdir())
    return {**committed(nights.recipe), "runs": json.dumps(runs).encode()}


def told(nights: Nights) -> list[dict[str, Any]]:
    """What the hook after the night was told, without what the run says of itself."""
    path = nights.folder / "told.jsonl"
    lines = [line for line in path.read_text().splitlines() if line.startswith("{")] if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in ("run", "collected")} for line in lines]


def check_readers(nights: Nights, versions: set[str]) -> None:
    """Readers have one of these versions, and it is whole, and so is the tagged one."""
    dataset = Dataset(str(nights.folder / "store"), "web")
    assert dataset.current in versions
    for version in (None, "kept"):
        table = api.open_dataset(dataset.url, version).arrow().to_table()
        assert len(table) == dataset.find(version).manifest["rows"]


def crash(folder: Path, case: str, at: Sequence[float] | None = None) -> tuple[int, int]:
    """End the night before each of its steps, or at some shares of them, and do it again.

    Returns how often, and of how many steps.
    """
    nights = prepared(folder / "work", case)
    before = folder / "before"
    load_kernels(nights.recipe)

    def restore() -> None:
        shutil.rmtree(nights.folder)
        shutil.copytree(before, nights.folder)

    def work() -> None:
        api.refresh(str(nights.recipe), FIRST.replace(day=LAST), engine="local", workers=1)

    shutil.copytree(nights.folder, before)
    had = Dataset(str(nights.folder / "store"), "web").current
    for _ in range(2):  # the first may compile kernels, which takes steps that no later night takes
        restore()
        code, steps = forked(work)
        assert code == 0, "the night that nobody disturbs fails"
    expected, (once,) = found(nights), told(nights)
    assert once["changed"]
    assert once["published"] == (case != "held back"), once["held"]
    done = 0
    for last in range(1, steps + 1) if at is None else (round(share * steps) for share in at):
        restore()
        assert forked(work, last)[0] == ENDED
        check_readers(nights, {str(had), once["version"] if once["published"] else str(had)})
        ended = told(nights)
        assert forked(work)[0] == 0, f"step {last}"
        assert found(nights) == expected, f"step {last} of {steps}"
        check_readers(nights, {once["version"] if once["published"] else str(had)})
        assert told(nights)[: len(ended) + 1] == [*ended, once], f"step {last} of {steps}"
        assert len(ended) <= 1
        done += 1
    assert not verify(str(nights.folder / "store"), None, False, Reporter(quiet=True)).findings
    return done, steps


def test_some_steps(tmp_path: Path) -> None:
    """Among them some of the last, when the version is looked at, published, and told."""
    assert crash(tmp_path, "index", (0.4, 0.97, 0.99))[0] == 3


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_step(case: str, tmp_path: Path) -> None:
    done, steps = crash(tmp_path, case)
    assert done == steps >= 100
