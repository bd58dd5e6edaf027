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

from gristmill.operators.errors import FatalError
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.label.result import Confirm
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.recipe.refresh import Refresh
from gristmill.pipelines.stages.context import Context, RunResult
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.lock import writer_lock
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run
from gristmill.pipelines.versions.account import write_account
from gristmill.pipelines.versions.guards import Checked, check, unpublished_runs
from gristmill.pipelines.versions.profile import kept_by_source
from gristmill.pipelines.versions.publishing import ready
from gristmill.pipelines.versions.retention import Collection, collect

#: The reason of a hold begins with this where guards stopped a version.
GUARDS = "guards: "


@dataclass(frozen=True)
class Counts:
    """Documents and tokens of a source or a rule, before the night and with it."""

    name: str
    documents: tuple[int, int]
    tokens: tuple[int, int]


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
    sources: Sequence[Counts]  #: of each source, in both versions
    rules: Sequence[Counts]  #: dropped by each rule: in the last published night, and since then
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
    finish: Callable[[Context], RunResult] | None = None,
) -> NightResult:
    """Do one night of a recipe, whose dates are already those of the night (`LoadedRecipe.of_nights`).

    `finish` is that of `run`.

    Raises GristmillError as `run` does, and FatalError where a hook fails: one of `before` ends the night before it
    begins, one of `after` when all is done.
    """
    asked = loaded.recipe.refresh or Refresh()
    told: dict[str, Any] = {"recipe": loaded.recipe.name, "night": night.isoformat(), "store": loaded.store}
    _call(asked.before, told, loaded, "before", reporter)
    records = RunRecords(loaded.store)
    result = run(
        loaded, open_engine, reporter, confirm=confirm, publish=False, night=night, records=records, finish=finish
    )
    done = _publish(loaded, records, asked, result, night, reporter)
    if asked.keep is not None:
        done = replace(done, collected=collect(records, loaded.recipe.name, asked.keep, lambda found: True))
    _call(asked.after, {**told, **done.to_json()}, loaded, "after", reporter)
    if done.changed:
        with writer_lock(loaded.store, reporter.say):
            dataset = Dataset(loaded.store, loaded.recipe.name)
            dataset.mark(replace(dataset.marks, untold=None))
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
        if waits and (held is None or held.startswith(GUARDS)):
            checked = check(asked.guards, records, dataset, version, published)
            failing = sorted({guard.guard for guard in checked if not guard.passes})
            held = f"{GUARDS}{', '.join(failing)}" if failing else None
        done = NightResult(
            recipe=name,
            night=night.isoformat(),
            version=version.name,
            before=None if published is None else published.name,
            published=held is None,
            changed=waits,
            held=held,
            guards=checked,
            **_delta(records, dataset, published, version),
            run=result,
        )
        if not waits:
            return _untold(dataset.marks.untold, done)
        told = {field: value for field, value in done.to_json().items() if field not in ("run", "collected")}
        dataset.mark(replace(dataset.marks, untold=told))  # before readers move: a night ended now is told all the same
        write_account(loaded.store, result.run, told)
        if held is None:
            dataset.publish(version)
        elif checked:
            dataset.hold(version, held)
        return done


def _untold(told: Mapping[str, Any] | None, done: NightResult) -> NightResult:
    """Return the outcome of a night that changed nothing: that of an attempt that was ended before it was told."""
    if told is None or told["version"] != done.version or told["held"] is not None:
        return done
    counts: dict[str, Any] = {what: tuple(told[what]) for what in ("documents", "tokens")}
    for what in ("sources", "rules"):
        counts[what] = [Counts(row["name"], tuple(row["documents"]), tuple(row["tokens"])) for row in told[what]]
    guards = [Checked(**guard) for guard in told["guards"]]
    return replace(done, before=told["before"], changed=True, guards=guards, **counts)


def _delta(records: RunRecords, dataset: Dataset, published: Version | None, version: Version) -> dict[str, Any]:
    """Return the documents and tokens of the version that readers have and of another, by source and rule too."""
    now = records.of_version(dataset, version)
    before = [] if published is None else records.of_version(dataset, published)
    counts = [{"rows": 0, "tokens": 0} if v is None else v.manifest for v in (published, version)]
    nights = ([stands.run for stands in before[:1]], unpublished_runs(records, dataset, version, published))
    return {
        "documents": tuple(manifest["rows"] for manifest in counts),
        "tokens": tuple(manifest["tokens"] for manifest in counts),
        "sources": _counts([kept_by_source(standing) for standing in (before, now)]),
        "rules": _counts([_dropped(runs) for runs in nights]),
    }


def _counts(sides: Sequence[tuple[Counter[str], Counter[str]]]) -> list[Counts]:
    """Return counts of documents and tokens by name, of both sides."""
    (before, tokens_before), (now, tokens) = sides
    names = dict.fromkeys([*before, *now])
    return [Counts(name, (before[name], now[name]), (tokens_before[name], tokens[name])) for name in names]


def _dropped(runs: Sequence[Run]) -> tuple[Counter[str], Counter[str]]:
    """Return the documents and tokens that each rule of some runs dropped."""
    documents, tokens = Counter[str](), Counter[str]()
    for made in runs:
        for rule in Funnel.from_json(made.record["result"]["funnel"]).rules:
            documents[rule.name] += rule.dropped
            tokens[rule.name] += rule.dropped_tokens
    return documents, tokens


def _call(
    commands: Sequence[str], told: Mapping[str, Any], loaded: LoadedRecipe, when: str, reporter: Reporter
) -> None:
    """Run the commands of a hook, one after the other, in the recipe's folder. Raises FatalError where one fails."""
    content = json.dumps(told, ensure_ascii=False, default=str)
    folder = files.local_path(loaded.base) if files.is_local(loaded.base) else None
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
