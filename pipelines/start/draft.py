"""A recipe for data that were looked at: sections chosen by what a newcomer wants, each line with its reason."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import yaml

from gristmill.pipelines.config.quoting import in_one_line, printable
from gristmill.pipelines.sources.spec import AUTO
from gristmill.pipelines.start.first_look import FirstLook, FoundSource

#: Column of the comments, unless a line is longer; longer comments stand above their line.
_COMMENT_AT, _LONGEST = 44, 118
#: Names of English in the fields `lang` and `language` of data sets.
ENGLISH = ("en", "eng", "english", "en-us", "en-gb")
#: Shares of English from which Gopher's rules judge all documents, and from which they judge those in English.
_NEARLY_ALL_ENGLISH, _SOME_ENGLISH = 0.95, 0.05
#: Share of the pages in one language from which the others are dropped.
_MOSTLY_ONE = 0.6
#: Share of a sample that a rule takes from which the recipe says so, and what is added for the rest of the data.
_LARGE, _MARGIN = 0.3, 0.15
#: Measures whose change from night to night a guard watches.
_DRIFTING = ["gopher_words", "tokens"]
#: The label task that a recipe names; it lies below the recipe's folder.
TASK = "tasks/edu.yaml"


class Want(StrEnum):
    """A newcomer's wish for the data."""

    dedup = "dedup"
    quality = "quality"
    mask = "mask"
    label = "label"
    nightly = "nightly"


WANTS: Mapping[Want, str] = {
    Want.dedup: "one document of each text, near copies too",
    Want.quality: "leave out what is hardly prose: menus, lists, fragments",
    Want.mask: "e-mail and IP addresses replaced by placeholders",
    Want.label: "a language model's rating of a sample, as columns",
    Want.nightly: "new files every night, compared with all nights before",
}


@dataclass(frozen=True)
class Findings:
    """Facts about the texts that trials on the sample showed."""

    languages: Mapping[str, float] = field(default_factory=dict)  #: share of the documents, most frequent first
    measured_languages: bool = False  #: whether the languages were measured, not read from a field
    shortest: int = 0  #: bytes that 95 % of the texts have at least
    taken: Mapping[str, float] = field(default_factory=dict)  #: share of the documents that a rule saw and dropped
    kept: float = 1.0  #: share of the documents
    unsuitable: frozenset[str] = frozenset()  #: rules that take too much of these texts


@dataclass(frozen=True)
class RecipeEntry:
    """An entry of a list of a recipe, with its reason."""

    value: Any
    comment: str = ""


@dataclass(frozen=True)
class Draft:
    """A recipe before it is written."""

    name: str
    store: str
    sources: Sequence[Mapping[str, Any]]
    source_comment: str
    extract: str | None
    transform: Sequence[RecipeEntry]
    measure: Sequence[str]
    decide: Sequence[RecipeEntry]
    label: Sequence[str]
    columns: Sequence[str]
    one_language: bool  #: whether a rule drops all languages but one
    refresh: Mapping[str, RecipeEntry]

    def value(self) -> dict[str, Any]:
        """Return the recipe as a value."""
        optional: dict[str, Any] = {
            "extract": self.extract,
            "transform": [entry.value for entry in self.transform],
            "measure": list(self.measure),
            "decide": [entry.value for entry in self.decide],
            "label": list(self.label),
            "report": {"by": []} if self.one_language else None,
            "refresh": {key: entry.value for key, entry in self.refresh.items()},
        }
        head = {"version": 1, "name": self.name, "store": self.store, "sources": [dict(s) for s in self.sources]}
        return {**head, **{k: v for k, v in optional.items() if v}, "write": {"columns": list(self.columns)}}

    def text(self, head: Sequence[str]) -> str:
        """Return the recipe as the text of a file, below some lines of comment."""
        lines = [f"# {in_one_line(line)}".rstrip() for line in head]
        lines += ["version: 1", *_line(f"name: {_flow(self.name)}", f"the dataset will be store/datasets/{self.name}")]
        lines += _line(f"store: {_flow(self.store)}", "measures, decisions, datasets; a folder or s3://bucket/folder")
        lines += _line("sources:", self.source_comment)
        lines += [f"  - {_flow(source)}" for source in self.sources]
        if self.extract:
            lines += _line(f"extract: {self.extract}", "HTML to text; `resiliparse` is faster and keeps more of menus")
        lines += _section("transform", self.transform, "what is done to every text")
        if self.measure:
            lines += _line(f"measure: {_flow(list(self.measure))}", "computed of every document, and kept")
        lines += _section("decide", self.decide, "rules, in this order; each sees what those before it kept")
        if self.label:
            comment = "the question, the endpoint and the budget are in this file"
            lines += _line(f"label: {_flow(list(self.label))}", comment)
        lines += _line(f"write: {{columns: {_flow(list(self.columns))}}}", "columns of the dataset (Parquet)")
        if self.one_language:
            lines += _line("report: {by: []}", "do not ask why other languages are gone: the first rule means it")
        if self.refresh:
            lines += _line("refresh:", "what `gristmill refresh` does every night")
            lines += [
                line for key, e in self.refresh.items() for line in _line(f"  {key}: {_flow(e.value)}", e.comment)
            ]
        return "\n".join(lines) + "\n"


def _section(name: str, entries: Sequence[RecipeEntry], comment: str) -> Iterator[str]:
    if entries:
        yield from _line(f"{name}:", comment)
    for entry in entries:
        yield from _line(f"  - {_entry(entry.value)}", entry.comment)


def _entry(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        return f"{name}: {_flow(options)}"
    return _flow(value)


class _InOneLine(yaml.SafeDumper):  # type: ignore[misc]
    """Dumper that writes texts with unusual characters in double quotes, where escapes stand for them."""


def _represented(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if printable(text) == text and "\n" not in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_InOneLine.add_representer(str, _represented)


def _flow(value: Any) -> str:
    """Return a value as YAML in one line, whatever characters names have."""
    dumped: str = yaml.dump(
        value, Dumper=_InOneLine, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return dumped.removesuffix("\n").removesuffix("\n...")


def _line(line: str, comment: str) -> list[str]:
    if not comment:
        return [line]
    comment = in_one_line(comment)
    beside = f"{line:<{_COMMENT_AT - 2}}  # {comment}"
    if len(beside) <= _LONGEST:
        return [beside]
    indent = line[: len(line) - len(line.lstrip())]
    return [*(f"{indent}# {part}" for part in textwrap.wrap(comment, _LONGEST - 4)), line]


def draft_of(look: FirstLook, wants: Sequence[Want], findings: Findings, name: str, folder: str, store: str) -> Draft:
    """Return a recipe for what was looked at. `folder` is that of the recipe, where its relative paths start."""
    sources = [_source_value(source, look, folder) for source in look.sources]
    transform = [
        RecipeEntry("normalize_unicode", "one form of each character and line end; broken encodings are mended")
    ]
    if Want.mask in wants:
        transform.append(RecipeEntry("mask_pii", "<EMAIL> and <IP> in place of addresses"))
    rules = [*_quality_rules(look, findings)] if Want.quality in wants else []
    nightly = Want.nightly in wants
    if nightly or {Want.dedup, Want.quality} & {*wants}:
        rules += _copies(name if nightly else None, findings)
    rules = [_with_expectation(rule, findings) for rule in rules]
    metadata = dict.fromkeys(column for source in look.sources for column in source.roles.metadata)
    read = " ".join(str(entry.value) for entry in rules)
    extra = ["lang", "lang_score"] if "lang" in read and "lang" not in metadata else []
    url = ["url"] if any(source.roles.url or source.pages for source in look.sources) else []
    return Draft(
        name,
        store,
        sources,
        _in_words(look),
        "trafilatura" if look.pages else None,
        transform,
        ["gopher"] if nightly else [],
        rules,
        [TASK] if Want.label in wants else [],
        list(dict.fromkeys(["id", *url, "text", "source", *metadata, *extra])),
        any(isinstance(rule.value, dict) and "lang <>" in str(rule.value) for rule in rules),
        _refresh(findings) if nightly else {},
    )


def _in_words(look: FirstLook) -> str:
    """Return what is read from which field."""
    roles = look.sources[0].roles
    if look.sources[0].pages and not roles.html:
        return "the pages of each file"
    ids = f"the id is `{roles.id}`" if roles.id else "no field is an id, so ids are made"
    if roles.id == "id" and not any(facts.name == "id" for facts in look.sources[0].facts):
        ids = "the id is made of it"
    return f"the text is the field `{roles.text}`, {ids}"


def _source_value(source: FoundSource, look: FirstLook, folder: str) -> dict[str, Any]:
    roles = source.roles
    paths = [_relative(path, folder) for path in source.paths]
    value: dict[str, Any] = {"name": source.name, "path": paths[0] if len(paths) == 1 else paths}
    if source.format != AUTO:
        value["format"] = source.format
    if source.format == "warc":
        value["damaged"] = "skip"
    if roles.html and source.format not in ("warc", "html"):
        value["html"] = roles.text
    elif roles.text != "text":
        value["text"] = roles.text
    if roles.id != "id" and not (roles.id is None and not any(facts.name == "id" for facts in source.facts)):
        value["id"] = roles.id
    if roles.url is not None and source.format not in ("warc", "html"):
        value["url"] = roles.url
    if roles.metadata and all(column == of and kind == "string" for column, (of, kind) in roles.metadata.items()):
        value["metadata"] = list(roles.metadata)
    elif roles.metadata:
        value["metadata"] = {
            column: kind if column == of else {"field": of, **({} if kind == "string" else {"type": kind})}
            for column, (of, kind) in roles.metadata.items()
        }
    return value


def _relative(path: str, folder: str) -> str:
    """Return a local path from the recipe's folder where it lies below it or near it."""
    if "://" in path or "://" in folder:
        return path
    relative = os.path.relpath(path, folder)
    return path if relative.startswith("../../") else relative


def _quality_rules(look: FirstLook, findings: Findings) -> Iterator[RecipeEntry]:
    languages = findings.languages
    main = next(iter(languages), "")
    crawl = look.pages or any(source.roles.url and "language" in source.roles.metadata for source in look.sources)
    # of a crawl much is to go, and how much differs from site to site
    expected = {"expect": 1} if crawl else {}
    if crawl and findings.measured_languages and main and languages[main] >= _MOSTLY_ONE:
        yield RecipeEntry(
            {"drop": {"when": f"lang <> '{main}' or lang_score < 0.65", "name": "language", **expected}},
            f"one language; {languages[main]:.0%} of the sample are `{main}`; without this line all stay",
        )
        languages = {main: 1.0}
    named = [name for name in languages if name.lower() in ENGLISH]
    english = sum(languages[name] for name in named)
    if look.code or "gopher_rules" in findings.unsuitable or (languages and english < _SOME_ENGLISH):
        if "short" not in findings.unsuitable:
            told = _told("texts too short to be of use", "short", findings)
            yield RecipeEntry({"drop": {"when": f"bytes < {_rounded(findings.shortest)}", "name": "short"}}, told)
    elif languages and english < _NEARLY_ALL_ENGLISH:
        told = _told("lists, menus, fragments (Rae et al. 2021); other languages pass", "gopher_rules", findings)
        yield RecipeEntry({"gopher_rules": {"languages": named, **expected}}, told)
    else:
        told = _told("lists, menus, fragments (Rae et al. 2021)", "gopher_rules", findings)
        yield RecipeEntry({"gopher_rules": expected} if expected else "gopher_rules", told)


def _copies(index: str | None, findings: Findings) -> Iterator[RecipeEntry]:
    yield RecipeEntry({"exact_dedup": "longest"}, _told("copies; the longest of them stays", "exact_dedup", findings))
    told = _told("near copies: three quarters of their runs of 5 words", "fuzzy_dedup", findings)
    options = {"threshold": 0.75, "keep": "longest"}
    yield RecipeEntry({"fuzzy_dedup": options if index is None else {**options, "index": {"name": index}}}, told)


def _told(what: str, rule: str, findings: Findings) -> str:
    share = findings.taken.get(rule)
    return what if share is None else f"{what}; {f'{share:.1%}' if share else 'none'} of the sample"


def _rounded(size: int) -> int:
    """Return a size between 20 and 200 with one digit that counts."""
    size = max(20, min(200, size))
    step = 10 if size < 100 else 100
    return size // step * step


def _with_expectation(entry: RecipeEntry, findings: Findings) -> RecipeEntry:
    """Return a rule that says what it takes, where that is much: the report then does not ask."""
    name, options = (entry.value, None) if isinstance(entry.value, str) else next(iter(entry.value.items()))
    options = options if isinstance(options, dict) else {} if options is None else {"keep": options}
    share = findings.taken.get(options.get("name", name), 0.0)
    if share <= _LARGE or "expect" in options:
        return entry
    expected = min(1.0, (int((share + _MARGIN) * 10) + 1) / 10)
    value = {name: {**options, "expect": int(expected) if expected == 1 else expected}}
    return RecipeEntry(value, f"{entry.comment}, as `expect` says")


def _refresh(findings: Findings) -> dict[str, RecipeEntry]:
    kept = max(0.1, round(findings.kept / 2, 1))
    loss = min(1.0, round(1 - findings.kept + 0.3, 1))
    return {
        "vanished": RecipeEntry("withdraw", "documents of files that are gone leave the dataset"),
        "changed": RecipeEntry("withdraw"),
        "guards": RecipeEntry(
            {
                "kept": {"min": kept},
                "rejects": 0.05,
                "source_loss": loss,
                "drift": {"psi": 0.25, "measures": _DRIFTING},
            },
            "readers get a version if these hold: share kept, bad records, loss of a source, change since last week",
        ),
        "keep": RecipeEntry({"nightly": 7, "weekly": 4}, "older versions go"),
    }
