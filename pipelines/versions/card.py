"""A dataset card: what a version is made of, how, and where it falls short, for those who train on it.

It is Markdown with the metadata that the Hugging Face Hub reads ("Dataset Card"), and follows the nutrition label of
datasets (Holland et al. 2018): ingredients with their licences, what was taken out, by which limits, from which source.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from gristmill.operators.base import Measure
from gristmill.operators.columns import SOURCE
from gristmill.operators.errors import GristmillError, RecipeError, StoreDamaged
from gristmill.operators.table import of_kind
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.report.funnel import remarks
from gristmill.pipelines.report.labels import aggregated
from gristmill.pipelines.report.losses import loss_rows
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.versions.facts import show
from gristmill.pipelines.versions.profile import kept_by_source

#: Upper bounds of the Hub's size categories, and what they are called.
_SIZES = ((10**3, "n<1K"), *((10**i, f"{_short}<n<{_next}") for i, _short, _next in (
    (4, "1K", "10K"), (5, "10K", "100K"), (6, "100K", "1M"), (7, "1M", "10M"), (8, "10M", "100M"), (9, "100M", "1B"),
    (10, "1B", "10B"), (11, "10B", "100B"), (12, "100B", "1T"),
)))  # fmt: skip
_LICENSE = "license"
_MOST_LICENSES = 20
Rows = Sequence[Sequence[object]]


def card(store: str, name: str, wanted: str | None = None) -> str:
    """Return the card of a version, by its name or tag, by default of the one that readers take.

    Of a dataset with an index it counts all nights. Raises RecipeError where there is no such version.
    """
    dataset = Dataset(store, name)
    version = dataset.find(wanted)
    facts = show(store, name, version.name)
    try:
        standing: Sequence[Standing] = RunRecords(store).of_version(dataset, version)
    except RecipeError:
        standing = ()
    body = "\n\n".join(_sections(store, version, facts, standing))
    head = yaml.safe_dump(_metadata(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{body}\n"


def _metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    given = [source.get(_LICENSE) for source in facts["recipe"]["sources"]]
    licenses = sorted({license for license in given if license})
    size = next((size for bound, size in _SIZES if facts["documents"] < bound), "n>1T")
    return {
        "pretty_name": facts["dataset"],
        **({"license": licenses if len(licenses) > 1 else licenses[0]} if licenses else {}),
        "size_categories": [size],
        "tags": ["gristmill"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }


def _sections(store: str, version: Version, facts: Mapping[str, Any], standing: Sequence[Standing]) -> Iterator[str]:
    estimated = "about " if facts["funnel"]["estimated"] else ""
    yield f"# {facts['dataset']}"
    yield (
        f"Version {facts['version']} of {facts['date']}: {plural(facts['documents'], 'document')}, {estimated}"
        f"{in_units(facts['tokens'])} tokens, {facts['text_bytes'] / 1e6:,.1f} MB of text (UTF-8). "
        f"Made by gristmill {facts['code_version']}."
        + (f" Tags: {', '.join(facts['tags'])}." if facts["tags"] else "")
        + (f" It follows {facts['parent']}." if facts["parent"] else "")
    )
    funnels = [Funnel.from_json(stands.run.record["result"]["funnel"]) for stands in standing]
    funnels = funnels or [Funnel.from_json(facts["funnel"])]
    yield "## Ingredients\n\n" + _ingredients(facts, funnels, standing)
    if licences := _licences(version):
        yield "Licences of the documents, as their column `license` gives them:\n\n" + licences
    yield "## What was taken out\n\n" + _rules(facts, funnels)
    if standing and (losses := _losses(standing)):
        yield "Of each source:\n\n" + losses
    yield "## Columns\n\n" + _columns(facts)
    for label in facts["labels"]:
        yield f"## Labels: {label['task']}\n\n" + _labels(store, label["fingerprint"])
    yield "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in _limits(facts, funnels))
    recipe = yaml.safe_dump(facts["recipe"], sort_keys=False, allow_unicode=True)
    yield f"## Recipe\n\n```yaml\n{recipe}```"


def _table(headings: Sequence[str], rows: Rows) -> str:
    """Return a Markdown table; numbers stand to the right."""
    numbers = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(headings))]
    lines = [headings, ["---:" if number else "---" for number in numbers]]
    lines += [[f"{cell:,}" if isinstance(cell, int) else _cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _ingredients(facts: Mapping[str, Any], funnels: Sequence[Funnel], standing: Sequence[Standing]) -> str:
    read: Counter[str] = Counter()
    at_first: Counter[str] = Counter()
    for funnel in funnels:
        at_first += funnel.kept_by(SOURCE)
        for group in funnel.groups:
            if group.column == SOURCE and group.value is not None:
                read[group.value] += group.documents
    kept = kept_by_source(standing)[0] if standing else at_first
    left = at_first.total() - kept.total()
    since = f" {plural(left, 'document')} kept then were withdrawn, or decided again, since." if left else ""
    rows = []
    for source in facts["recipe"]["sources"]:
        path = source["path"] if isinstance(source["path"], str) else ", ".join(source["path"])
        name, license = source["name"], source.get(_LICENSE) or "not given"
        rows.append((name, f"`{path}`", license, read[name], kept[name]))
    records, rejected = (sum(getattr(f, what) for f in funnels) for what in ("records", "quarantined"))
    nights = f" in {plural(len(funnels), 'night')}" if len(funnels) > 1 else ""
    table = _table(("source", "files", "licence", "documents read", "kept"), rows)
    told = f"{plural(records, 'record')} were read{nights}; {rejected:,} were no documents (quarantined).{since}"
    return f"{table}\n\n{told}"


def _licences(version: Version) -> str:
    """Return a table of the values of the column `license`, the most frequent first; empty without such a column."""
    counts: Counter[str | None] = Counter()
    for url in version.urls(version.manifest):
        with files.open_input(url) as file:
            parquet = pq.ParquetFile(file)
            if _LICENSE not in parquet.schema_arrow.names:
                continue
            for value in pc.value_counts(parquet.read([_LICENSE])[_LICENSE].cast(pa.string())).to_pylist():
                counts[value["values"]] += value["counts"]
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0] is None, item[0]))
    rows = [(value or "not given", n) for value, n in frequent[:_MOST_LICENSES]]
    if len(counts) > _MOST_LICENSES:
        rows.append(("others", counts.total() - sum(n for _, n in rows)))
    return _table(("licence", "documents"), rows) if rows else ""


def _rules(facts: Mapping[str, Any], funnels: Sequence[Funnel]) -> str:
    options = [_in_yaml(rule) for rule in facts["recipe"].get("decide") or ()]
    dropped: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for funnel in funnels:
        for rule in funnel.rules:
            dropped[rule.name] += rule.dropped
            tokens[rule.name] += rule.dropped_tokens
    rules = Funnel.from_json(facts["funnel"]).rules
    shown = options if len(options) == len(rules) else [rule.operator for rule in rules]
    rows = [(r.name, f"`{shown[i]}`", dropped[r.name], tokens[r.name]) for i, r in enumerate(rules)]
    told = [f"- {rule.name}: {remark}" for rule in rules for remark in remarks(rule)]
    table = _table(("rule", "as written", "documents", "tokens"), rows) if rows else "Nothing: the recipe has no rules."
    return "\n\n".join([table, *(["\n".join(told)] if told else [])])


def _in_yaml(rule: object) -> str:
    return " ".join(yaml.safe_dump(rule, default_flow_style=True, sort_keys=False, width=10**6).split()).removesuffix(
        " ..."
    )


def _losses(standing: Sequence[Standing]) -> str:
    table = loss_rows(standing).to_pylist()
    rows = [
        (row["value"], row["rule"], row["seen"], row["dropped"], f"{row['dropped'] / row['seen']:.1%}")
        for row in table
        if row["counted_by"] == "source" and row["seen"]
    ]
    return _table(("source", "rule", "seen", "dropped", "share"), rows) if rows else ""


def _columns(facts: Mapping[str, Any]) -> str:
    entries = facts["recipe"].get("measure") or ()
    options = dict((entry, None) if isinstance(entry, str) else next(iter(entry.items())) for entry in entries)
    told: dict[str, str] = {}
    for name, kind in of_kind(Measure).items():
        with contextlib.suppress(
            ValueError, GristmillError
        ):  # it needs options, or this installation knows it otherwise
            measure = kind.model_validate(options.get(name))
            assert isinstance(measure, Measure)
            for field in measure.gives():
                told[field.name] = (field.metadata or {}).get(b"description", b"").decode()
    rows = [(f"`{column['name']}`", column["type"], told.get(column["name"], "")) for column in facts["schema"]]
    return _table(("column", "type", ""), rows)


def _labels(store: str, fingerprint: str) -> str:
    """Return a task's instruction, who answered, and how far they agree."""
    label_store = LabelStore(store, fingerprint)
    record = label_store.task()
    task = record["task"]
    if not task:
        return "The store has no record of this task any more."
    lines = [f"Instruction: {_cell(task['instruction'])}", f"Answers: `{_in_yaml(task['answer'])}`"]
    lines.append(f"Annotators: {', '.join(_annotator(annotator) for annotator in task['annotators'])}")
    try:
        agreement = aggregated(store, task)["agreement"]
        if agreement.get("alpha") is not None:
            lines.append(f"Krippendorff's alpha of all annotators: {agreement['alpha']:.2f}")
        else:
            lines.append(
                "No two annotators answered about one text, or all answers are the same: agreement is not known."
            )
    except (RecipeError, StoreDamaged) as error:
        lines.append(f"Agreement is not known: {_cell(error)}")
    return "\n\n".join(lines)


def _annotator(annotator: Mapping[str, Any]) -> str:
    return f"{annotator['name']} ({annotator.get('model') or annotator['engine']})"


def _limits(facts: Mapping[str, Any], funnels: Sequence[Funnel]) -> Iterator[str]:
    recipe = facts["recipe"]
    used = {entry if isinstance(entry, str) else next(iter(entry)) for part in ("transform", "measure", "decide")
            for entry in recipe.get(part) or ()}  # fmt: skip
    if not all(source.get(_LICENSE) for source in recipe["sources"]):
        yield "Not every source has a licence given (`license:` in the recipe); whoever uses the texts has to find out."
    if "mask_pii" not in used:
        yield "Personal data was not masked."
    if not {"fuzzy_dedup", "exact_dedup"} & used:
        yield "Duplicates were not looked for."
    elif "fuzzy_dedup" not in used:
        yield "Exact duplicates were looked for, near duplicates were not."
    if any(funnel.estimated for funnel in funnels):
        yield "Tokens are estimated, by some 5 % in English and more elsewhere."
    yield ("Texts of benchmarks were not looked for: an evaluation of what is trained on this may be contaminated.")
    yield "What the rules took is told above by source; what that does to topics and dialects was not measured."
