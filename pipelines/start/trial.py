"""Trials of a drafted recipe on the sample of a first look, in a store of their own that is removed afterwards.

What a rule takes of the sample decides whether it stays: a recipe that is written drops what it says it drops.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import yaml

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.language import installed_model
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import read_recipe
from gristmill.pipelines.report.funnel import warnings
from gristmill.pipelines.report.query import query
from gristmill.pipelines.stages.context import RunResult
from gristmill.pipelines.stages.run import run
from gristmill.pipelines.start.draft import Draft, Findings
from gristmill.pipelines.start.first_look import FirstLook

#: A rule for prose that takes more of the sample than this does not suit it.
_TOO_MUCH = 0.4
_ROUNDS = 4
#: Rules that give way to another where they take too much: the others do what they are asked to.
_GIVING_WAY = ("gopher_rules", "short")
_QUANTILES = "0.05, 0.5, 0.95"


@dataclass(frozen=True)
class Tried:
    """The outcome of the trials."""

    draft: Draft
    findings: Findings
    lengths: Sequence[int]  #: bytes of the texts: quantiles 0.05, 0.5, 0.95
    copies: float  #: share of the sample's documents that are exact copies of another
    warnings: Sequence[str]  #: that the summary of a run over the sample shows


def tried(look: FirstLook, make: Callable[[Findings], Draft]) -> Tried:
    """Run drafts over the sample until what the rules take is what they are said to take.

    `make` returns the draft for what is known so far. Raises RecipeError where the recipe needs a package that is not
    installed.
    """
    with tempfile.TemporaryDirectory(prefix="gristmill-init-") as folder:
        sources = [_write_sample(look, i, folder) for i in range(len(look.sources))]
        measured = _language_measure(look)
        findings = Findings(measured_languages=bool(measured))
        for i in range(_ROUNDS):
            draft = make(findings)
            result = _run(draft, sources, [] if i else measured, folder)
            store = os.path.join(folder, "store")
            if i == 0:
                findings = replace(findings, languages=_languages(store, look, measured), shortest=_lengths(store)[0])
            improved = _improved(findings, result, look.pages or not i)
            if improved == findings and i:
                break
            findings = improved
        copies = query(store, "SELECT 1 - count(DISTINCT content_id) / count(*) FROM documents").column(0)[0].as_py()
        told = [f"{rule.name} {line}" for rule in result.funnel.rules for line in warnings(rule)]
        told += result.funnel.losses.warnings()
        return Tried(draft, findings, _lengths(store), float(copies or 0), told)


def _write_sample(look: FirstLook, i: int, folder: str) -> dict[str, Any]:
    """Write the sample of a source; return the source that reads it."""
    source = look.sources[i]
    path = os.path.join(folder, f"sample-{i}.jsonl")
    with open(path, "w", encoding="utf-8", errors="replace") as file:
        file.writelines(json.dumps(document) + "\n" for document in source.documents)
    value: dict[str, Any] = {"name": source.name, "path": path, "id": None}
    value |= {"html": "html"} if source.pages else {}
    value |= {"url": "url"} if source.roles.url is not None else {}
    types = {column: kind for column, (_, kind) in source.roles.metadata.items()}
    return value | ({"metadata": types} if types else {})


def _language_measure(look: FirstLook) -> list[str]:
    """Return the measure of languages, if its model is installed and no source has languages."""
    if any("lang" in source.roles.metadata for source in look.sources):
        return []
    try:
        installed_model()
    except RecipeError:
        return []
    return ["language"]


def _run(draft: Draft, sources: Sequence[Mapping[str, Any]], measured: Sequence[str], folder: str) -> RunResult:
    value = {**draft.value(), "store": os.path.join(folder, "store"), "sources": [dict(source) for source in sources]}
    for section in ("label", "refresh"):
        value.pop(section, None)
    value["name"] = "trial"
    value["measure"] = list(dict.fromkeys([*value.get("measure", []), *measured]))
    value["decide"] = [_without_index(rule) for rule in value.get("decide", [])]
    value["write"] = {}
    value["limits"] = {"rejects": 1.0}
    loaded = read_recipe(yaml.safe_dump(value, sort_keys=False), "the recipe", folder)
    return run(loaded, partial(open_engine, "local", None), Reporter(quiet=True))


def _without_index(rule: Any) -> Any:
    if isinstance(rule, dict) and isinstance(options := rule.get("fuzzy_dedup"), dict):
        return {"fuzzy_dedup": {name: value for name, value in options.items() if name != "index"}}
    return rule


def _languages(store: str, look: FirstLook, measured: Sequence[str]) -> dict[str, float]:
    if not measured and not any("lang" in source.roles.metadata for source in look.sources):
        return {}
    rows = query(store, "SELECT lang, count(*) AS n FROM documents WHERE lang IS NOT NULL GROUP BY ALL").to_pylist()
    counts = Counter({row["lang"]: row["n"] for row in rows})
    return {name: n / counts.total() for name, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))}


def _lengths(store: str) -> list[int]:
    found = query(store, f"SELECT quantile_disc(bytes, [{_QUANTILES}]) AS q FROM documents").column(0)[0].as_py()
    return [int(n) for n in found or (0, 0, 0)]


def _improved(findings: Findings, result: RunResult, lenient: bool) -> Findings:
    """Return the findings with what a trial adds to them; where it is lenient, no rule gives way.

    Much of a crawl is to go, and before the languages are known rules judge texts that they are not meant for.
    """
    funnel = result.funnel
    taken = {rule.name: round(rule.dropped / rule.seen, 3) for rule in funnel.rules if rule.seen}
    told = " ".join(funnel.losses.warnings())
    large = {name for name in _GIVING_WAY if taken.get(name, 0) > _TOO_MUCH or f"{name} takes" in told}
    unsuitable = findings.unsuitable if lenient else findings.unsuitable | large
    kept = round(funnel.kept / funnel.documents, 2) if funnel.documents else 1.0
    return replace(findings, taken=taken, kept=kept, unsuitable=unsuitable)
