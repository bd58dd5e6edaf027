"""Every kind of file of a label store, damaged: found, or harmless because what is lost is asked again."""

from __future__ import annotations

import itertools
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gristmill.operators.errors import GristmillError
from gristmill.pipelines.label.run import label
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.store.writer import LocalWriter
from gristmill.pipelines.report.labels import query
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.storage import files
from tests.pipelines.label.store.rows_made import BIG, answered
from tests.pipelines.label.tasks import QUIET, Scripted, loaded_task, scanned, topical, truth
from tests.reliability.damage import DAMAGES

ROWS = topical(24)


class Stage:
    """A label store as two runs and one that was killed left it, and what is right to find there."""

    def __init__(self, folder: Path) -> None:
        self.whole, self.work = folder / "whole", folder / "work"
        self.task = loaded_task(folder)
        self.documents = [scanned(folder / str(n), ROWS[:n], self.task) for n in (6, 12, 24)]
        self.run(self.documents[0])
        self.run(self.documents[1])
        self.store.compact()
        self.run(self.documents[2])
        LocalWriter(self.store.url, "00000009").append(BIG, [answered(1)])  # killed before its end
        shutil.copytree(self.work, self.whole)

    @property
    def store(self) -> LabelStore:
        return LabelStore(str(self.work), self.task.fingerprint)

    def run(self, documents: Any) -> None:
        label(self.task, str(self.work), documents, QUIET, lambda plan: True, Scripted())

    def answers(self) -> dict[str, str]:
        sql = "SELECT id, answer FROM labels JOIN documents USING (content_id) WHERE annotator = 'api'"
        return {row["id"]: row["answer"] for row in query(str(self.work), sql).to_pylist()}

    def next_run(self) -> dict[str, str]:
        self.run(self.documents[2])
        return self.answers()

    def trial(self, path: str, damage: str, action: str, seed: int) -> str:
        """`found` or `harmless`; anything else is what went wrong."""
        shutil.rmtree(self.work)
        shutil.copytree(self.whole, self.work)
        files._CHECKED.clear()
        place = self.work / path
        content = DAMAGES[damage](place.read_bytes(), random.Random(seed))
        if content is None:
            place.unlink()
        else:
            place.write_bytes(content)
        told = {finding.path for finding in verify(str(self.work), None, False, QUIET).findings}
        try:
            found = getattr(self, action)()
        except GristmillError as error:
            if place.name not in str(error):
                return f"an error that does not name the file: {error}"
            return "found" if path in told else f"verify does not find it: {told}"
        return "harmless" if found == truth(ROWS) else "another result, and no error"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("labels"))


def check(stage: Stage, each: int) -> Counter[str]:
    paths = sorted(str(path.relative_to(stage.whole)) for path in stage.whole.rglob("*") if path.is_file())
    kinds = {Path(path).name.split("-")[0].split(".")[0] for path in paths}
    assert kinds == {"answers", "compacted", "documents", "inventory", "journal", "task"}
    draw = random.Random(3)
    trials = itertools.product(paths, DAMAGES, ("answers", "next_run"), range(each))
    outcomes = {trial[:3]: stage.trial(*trial[:3], draw.randrange(1 << 30)) for trial in trials}
    wrong = {trial: outcome for trial, outcome in outcomes.items() if outcome not in ("found", "harmless")}
    assert not wrong
    return Counter(outcomes.values())


def test_damage_to_labels_is_found_or_harmless(stage: Stage) -> None:
    assert check(stage, 1)["found"] > 20


@pytest.mark.slow
def test_much_damage_to_labels_is_found_or_harmless(stage: Stage) -> None:
    check(stage, 6)
