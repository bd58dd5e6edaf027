"""`gristmill refresh`: one night. What is new is taken in, a version written, and published if the guards let it pass.

A night that was ended goes on where it was; done twice it changes nothing. A version that a guard stopped waits, and so
does every later one that holds its documents, until the guards pass or a person publishes it.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any

from gristmill.operators.columns import SOURCE
from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.result import Confirm
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.recipe.refresh import Refresh
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.storage.files import is_local, local_path
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.guards import Checked, check, unpublished_runs
from gristmill.pipelines.versions.publishing import ready
from gristmill.pipelines.versions.retention import Collection, collect

#: The reason of a hold begins with this where guards stopped a version.
GUARDS = "guards: "


@dataclass(frozen=True)
class Counts:
    """Documents of a source or a rule, before the night and in it."""

    name: str
    before: int
    now: int


@dataclass(frozen=True)
class NightResult:
    """The outcome of one night."""

    recipe: str
    night: str  #: ISO 8601
    version: str  #: that the night came to
    before: str | None  #: that readers had
    published: bool  #: readers have the version now
    changed: bool  #: it is another one than readers had
    held: str | None  #: why readers do not have it
    guards: Sequence[Checked]
    documents: tuple[int, int]  #: of the version that readers had, and of this one
    tokens: tuple[int, int]
    sources: Sequence[Counts]  #: documents kept of each source: in the last published night, and since then
    rules: Sequence[Counts]  #: documents dropped by each rule, likewise
    run: RunResult
    collected: Collection | None = None  #: versions that went

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        collected = None if self.collected is None else self.collected.to_json()
        return {**asdict(self), "run": self.run.to_json(), "collected": collected}


def refresh(
    loaded: LoadedRecipe,
    open_engine: Callable[[], Engine],
    reporter: Reporter,
    night: date,
    confirm: Confirm = lambda plan: True,
) -> NightResult:
    """Do one night of a recipe, whose dates are already those of the night (`LoadedRecipe.of_nights`).

    Raises GristmillError as `run` does, and FatalError where a hook fails: one of `before` ends the night before it
    begins, one of `after` when all is done.
    """
    asked = loaded.recipe.refresh or Refresh()
    told: dict[str, Any] = {"recipe": loaded.recipe.name, "night": night.isoformat(), "store": loaded.store}
    _call(asked.before, told, loaded, "before", reporter)
    records = RunRecords(loaded.store)
    result = run(loaded, open_engine, reporter, confirm=confirm, publish=False, night=night, records=records)
    done = _publish(loaded, records, asked, result, night, reporter)
    if asked.keep is not None:
        done = replace(done, collected=collect(records, loaded.recipe.name, asked.keep, lambda found: True))
    _call(asked.after, {**told, **done.to_json()}, loaded, "after", reporter)
    return done


def _publish(
    loaded: LoadedRecipe, records: RunRecords, asked: Refresh, result: RunResult, night: date, reporter: Reporter
) -> NightResult:
    """Publish the version that a run came to, or hold it back; return the outcome of the night."""
    name = loaded.recipe.name
    with writer_lock(loaded.store, reporter.say):
        dataset = ready(records, name)
        version = dataset.find(result.dataset.rsplit("/", 1)[-1])
        published = None if dataset.current is None else dataset.find()
        held = dataset.held_back(version)
        checked: list[Checked] = []
        waits = published is None or version.name != published.name
        runs = unpublished_runs(records, dataset, version, published) if waits else []
        if waits and (held is None or held.startswith(GUARDS)):
            checked = check(asked.guards, records, dataset, version, published)
            if failing := sorted({guard.guard for guard in checked if not guard.passes}):
                held = f"{GUARDS}{', '.join(failing)}"
                dataset.hold(version, held)
            else:
                held = None
                dataset.publish(version)
        before = {"rows": 0, "tokens": 0} if published is None else published.manifest
        now = version.manifest
        earlier = [] if published is None else [stands.run for stands in records.of_version(dataset, published)[:1]]
        return NightResult(
            recipe=name,
            night=night.isoformat(),
            version=version.name,
            before=None if published is None else published.name,
            published=held is None,
            changed=waits,
            held=held,
            guards=checked,
            documents=(before["rows"], now["rows"]),
            tokens=(before["tokens"], now["tokens"]),
            sources=_counts(earlier, runs, lambda funnel: funnel.kept_by(SOURCE)),
            rules=_counts(earlier, runs, _dropped),
            run=result,
        )


def _counts(earlier: Sequence[Run], night: Sequence[Run], of: Callable[[Funnel], Counter[str]]) -> list[Counts]:
    """Return what the funnels of runs count, before the night and in it."""
    before, now = Counter[str](), Counter[str]()
    for counts, runs in ((before, earlier), (now, night)):
        for made in runs:
            counts.update(of(Funnel.from_json(made.record["result"]["funnel"])))
    return [Counts(name, before[name], now[name]) for name in dict.fromkeys([*before, *now])]


def _dropped(funnel: Funnel) -> Counter[str]:
    return Counter({rule.name: rule.dropped for rule in funnel.rules})


def _call(
    commands: Sequence[str], told: Mapping[str, Any], loaded: LoadedRecipe, when: str, reporter: Reporter
) -> None:
    """Run the commands of a hook, one after the other, in the recipe's folder. Raises FatalError where one fails."""
    content = json.dumps(told, ensure_ascii=False, default=str)
    folder = local_path(loaded.base) if is_local(loaded.base) else None
    for i, command in enumerate(commands):
        reporter.say(f"  {when:<8} {command}")
        done = subprocess.run(
            command, shell=True, cwd=folder, input=content, text=True, capture_output=True, check=False
        )
        for line in (done.stdout + done.stderr).splitlines():
            reporter.say(f"           {line}")
        if done.returncode:
            consequence = "nothing was begun" if when == "before" else "the night itself is done, and stands"
            where = loaded.where("refresh", when, i)
            raise FatalError(f"{where}: {command} ended with exit code {done.returncode}; {consequence}")
