"""Records of runs are read once in a night, however many nights there are and whatever asks for them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from datetime import date
from pathlib import Path

from gristmill import api
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import RECORD
from tests.pipelines.versions.stores import add_night, store_of, write_recipe

_counts: list[Counter[str]] = []  # an audit hook stays as long as its process


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _counts and isinstance(arguments[0], str) and arguments[0].endswith(f"/{RECORD}"):
        _counts[-1][os.path.basename(os.path.dirname(arguments[0]))] += 1


sys.addaudithook(_count)


def test_a_night_reads_each_record_once(tmp_path: Path) -> None:
    guards = {"kept": {"min": 0.1}, "source_loss": 0.5, "drift": {"psi": 5.0}, "new_tokens": {"max": 9}}
    refresh = {"vanished": "withdraw", "changed": "withdraw", "guards": guards, "keep": {"nightly": 7}}
    recipe = write_recipe(tmp_path, ["exact_dedup", {"fuzzy_dedup": {"index": {"name": "web"}}}], refresh=refresh)
    for night in range(1, 5):
        add_night(recipe, night)
        before = {run.name for run in RunRecords(store_of(recipe)).finished()}
        _counts.append(Counter())
        done = api.refresh(str(recipe), date(2026, 11, night), engine="local", workers=2)
        read = _counts.pop()
        assert (done.published, {name: read[name] for name in before}) == (True, dict.fromkeys(before, 1))
        assert max(read.values()) == 1  # that of the night itself, once it is finished
