"""YAML whose values know their line, so that an error can say `recipe.yaml:14: ...`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple, NoReturn

import yaml

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import in_short_form

#: Keys and list indices from the root down to a value.
Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Shorter values are not hidden: replacing every "1" in a manifest would be of no use.
_SHORTEST_SECRET = 4
#: Files written by hand are far below these limits; larger ones would take minutes to read, or never end.
LONGEST_TEXT = 1_000_000  # characters of a file
MOST_VALUES = 50_000  # keys and values, each as often as aliases repeat it
DEEPEST = 64  # mappings and lists inside each other


class Span(NamedTuple):
    """First and last line of a value in the file, its key included; both count from 1."""

    first: int
    last: int


@dataclass
class LocatedYaml:
    """YAML document: its values with environment variables resolved, the lines of each, and the variables' values."""

    file: str
    value: Any
    text: Sequence[str] = ()  #: the file's lines
    spans: dict[Path, Span] = field(default_factory=dict)
    overrides: dict[Path, str] = field(default_factory=dict)  #: option that replaced a value of the file, by path
    variables: dict[str, str] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)  #: variables that are not set and stay as written

    def line(self, path: Path, word: str = "") -> int:
        """Return the line of a value, or of the nearest value around it that is in the file; 0 where there is none.

        With a word, the first of the value's lines on which that word stands.
        """
        while path and path not in self.spans:
            path = path[:-1]
        span = self.spans.get(path, Span(0, 0))
        if not word:
            return span.first
        whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        lines = range(max(1, span.first), span.last + 1)
        return next((line for line in lines if whole.search(self.text[line - 1])), span.first)

    def where(self, path: Path, word: str = "") -> str:
        """Return `recipe.yaml:14` for `line`, or the `--set` option that replaced or added the value."""
        for n in range(len(path), 0, -1):
            if path[:n] in self.overrides:
                return self.overrides[path[:n]]
        if path not in self.spans:  # not in the file: an option that set a value below it made it
            below = (option for place, option in self.overrides.items() if path and place[: len(path)] == path)
            if (option := next(below, None)) is not None:
                return option
        line = self.line(path, word)
        return f"{self.file}:{line}" if line else self.file

    def redact(self, text: str) -> str:
        """Return the text with the value of each resolved variable replaced by its name: no secret is stored."""
        for name, value in sorted(self.variables.items(), key=lambda item: -len(item[1])):
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, "${" + name + "}")
        return text

    def redact_value(self, value: Any) -> Any:
        """Apply `redact` to every text inside a value."""
        if isinstance(value, dict):
            return {key: self.redact_value(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.redact_value(inner) for inner in value]
        return self.redact(value) if isinstance(value, str) else value


class _Variables(NamedTuple):
    """Values for `${NAME}`, and the names that have none."""

    environment: Mapping[str, str]
    may_be_unset: Collection[str]  #: keys of the document below which a variable that is not set stays as written
    unset: list[str]  #: mistakes found: variables that are not set, with their lines


class _TooMuch(Exception):
    """Values that are too many, or nested too deeply, to be read."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem, line)
        self.problem, self.line = problem, line


class _Composer(yaml.SafeLoader):  # type: ignore[misc]
    """Composer of YAML nodes that stops where they are too many or too deep; an alias counts as what it repeats."""

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self._most = most
        self._sizes: dict[int, tuple[int, int]] = {}  # of finished nodes: values, depth
        self._open: list[list[int]] = [[0, 0]]  # of nodes that are not finished: the same, so far

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return a node and all below it."""
        event = self.peek_event()
        is_alias = self.check_event(yaml.AliasEvent)
        self._open.append([1, 1])
        if len(self._open) > DEEPEST:
            self._refuse(event, f"more than {DEEPEST} mappings and lists inside each other")
        node = super().compose_node(parent, index)
        values, depth = self._open.pop()
        if is_alias:
            if id(node) not in self._sizes:
                self._refuse(event, f"the alias *{event.anchor} stands inside what it repeats")
            values, depth = self._sizes[id(node)]
        self._sizes[id(node)] = values, depth
        around = self._open[-1]
        around[0], around[1] = around[0] + values, max(around[1], depth + 1)
        if around[0] > self._most:
            self._refuse(event, f"more than {self._most:,} values, aliases unfolded")
        if len(self._open) + depth > DEEPEST:
            self._refuse(event, f"more than {DEEPEST} mappings and lists inside each other, aliases unfolded")
        return node

    def _refuse(self, event: Any, problem: str) -> NoReturn:
        raise _TooMuch(problem, event.start_mark.line + 1)


def _compose(text: str, most: int) -> Any:
    loader = _Composer(text, most)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def load(
    text: str,
    file: str,
    environment: Mapping[str, str] = os.environ,
    may_be_unset: Collection[str] = (),
) -> LocatedYaml:
    """Parse YAML (safe: plain values only). Unset variables, repeated keys and syntax errors raise RecipeError.

    may_be_unset: keys of the document below which `${NAME}` is left as written where there is no such variable.
    """
    if len(text) > LONGEST_TEXT:
        line = text.count("\n", 0, LONGEST_TEXT) + 1
        raise RecipeError(
            f"{file}:{line}: the file goes on after {LONGEST_TEXT:,} characters, and is {len(text):,} long; is this a "
            "recipe or a task? Sources take globs, so that they need not be listed one by one"
        )
    try:
        root = _compose(text, MOST_VALUES)
    except _TooMuch as error:
        raise RecipeError(f"{file}:{error.line}: {error.problem}") from None
    except yaml.MarkedYAMLError as error:
        raise RecipeError(f"{file}{_syntax_error(error)}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: this is not valid YAML: {error}") from None
    if root is None:
        raise RecipeError(f"{file}: the file is empty; recipes and tasks begin with version: 1 and name: ...")
    document = LocatedYaml(file, None, text.split("\n"))
    constructor = yaml.SafeLoader("")
    variables = _Variables(environment, may_be_unset, [])
    document.value = _construct(root, (), document, constructor, variables)
    if variables.unset:
        raise RecipeError("\n".join(variables.unset))
    return document


def resolved(value: Any, file: str, environment: Mapping[str, str] = os.environ) -> Any:
    """Return a copy of a JSON value of the store in which variables stand for their values.

    Raises RecipeError where a variable is not set; `file` is the place of the value, for people.
    """
    document, variables = LocatedYaml(file, None), _Variables(environment, (), [])

    def copied(inner: Any, path: Path) -> Any:
        if isinstance(inner, dict):
            return {key: copied(child, (*path, key)) for key, child in inner.items()}
        if isinstance(inner, list):
            return [copied(child, (*path, i)) for i, child in enumerate(inner)]
        return _resolve(inner, path, document, variables) if isinstance(inner, str) else inner

    result = copied(value, ())
    if variables.unset:
        raise RecipeError("\n".join(variables.unset))
    return result


def parse_value(text: str, option: str) -> Any:
    """Return the value of a `--set key=value` override, read as YAML, else as text; `option` is all of it."""
    try:
        root = _compose(text, MOST_VALUES)
    except _TooMuch as error:
        raise RecipeError(f"{option}: {error.problem}") from None
    except yaml.YAMLError:
        return text
    if root is None:
        return None
    return _construct(root, (), LocatedYaml(option, None), yaml.SafeLoader(""), None)


def _syntax_error(error: yaml.MarkedYAMLError) -> str:
    """Return `:7: this is not valid YAML: ...`; for an unclosed bracket or quote, the line is the one that opens it."""
    problem_mark, context_mark = error.problem_mark, error.context_mark
    what = ", ".join(filter(None, [error.context, error.problem]))
    if problem_mark is None or context_mark is None or context_mark.line == problem_mark.line:
        mark = problem_mark or context_mark
        return f"{f':{mark.line + 1}' if mark else ''}: this is not valid YAML: {what}"
    return f":{context_mark.line + 1}: this is not valid YAML: {what} in line {problem_mark.line + 1}"


def _construct(node: Any, path: Path, document: LocatedYaml, constructor: Any, variables: _Variables | None) -> Any:
    """Return the value of a node; without `variables`, `${NAME}` stays as written."""
    document.spans.setdefault(path, _span(node, node))
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise RecipeError(f"{_place(document, node)}: the tag {node.tag} is not for recipes; plain values only")
    if isinstance(node, yaml.MappingNode):
        return dict(_construct_mapping(node, path, document, constructor, variables))
    if isinstance(node, yaml.SequenceNode):
        return [_construct(n, (*path, i), document, constructor, variables) for i, n in enumerate(node.value)]
    value = _scalar(node, document, constructor)
    return _resolve(value, path, document, variables) if isinstance(value, str) and variables is not None else value


def _scalar(node: Any, document: LocatedYaml, constructor: Any) -> Any:
    """Return the value of a scalar. Raises RecipeError for text that looks like a date or a number and is none."""
    try:
        value = constructor.construct_object(node)
        return node.value if isinstance(value, date) else value  # records are JSON, which has no dates
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
        kind = node.tag.rpartition(":")[2]
        text = in_short_form(node.value)
        raise RecipeError(f"{_place(document, node)}: {text} is no {kind}; write it in quotes if it is text") from None


def _place(document: LocatedYaml, node: Any) -> str:
    """Return `recipe.yaml:14` for a node of the file, or the option for a value that was given in one."""
    return f"{document.file}:{node.start_mark.line + 1}" if document.text else document.file


def _construct_mapping(
    node: Any, path: Path, document: LocatedYaml, constructor: Any, variables: _Variables | None
) -> Iterator[tuple[str, Any]]:
    key_lines: dict[Any, int] = {}
    for key_node, value_node in node.value:
        line, place = key_node.start_mark.line + 1, _place(document, key_node)
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise RecipeError(
                f"{place}: recipes merge nothing (`<<`): write the values out, or repeat one by its alias"
            )
        if not isinstance(key_node, yaml.ScalarNode):
            raise RecipeError(f"{place}: a key is a name, not a list or a mapping")
        key = _scalar(key_node, document, constructor)
        if not isinstance(key, str):
            raise RecipeError(f"{place}: the key {key!r} is not text; write it in quotes if it is a name")
        if key in key_lines:
            raise RecipeError(f"{place}: {key} stands here a second time (first in line {key_lines[key]})")
        key_lines[key] = line
        document.spans[(*path, key)] = _span(key_node, value_node)
        yield key, _construct(value_node, (*path, key), document, constructor, variables)


def _span(first: Any, last: Any) -> Span:
    """Return the lines from the first of one node to the last of another (a block ends where the next node begins)."""
    end = last.end_mark
    return Span(first.start_mark.line + 1, max(first.start_mark.line, end.line - (end.column == 0)) + 1)


def _resolve(value: str, path: Path, document: LocatedYaml, variables: _Variables) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables.environment:
            if path and path[0] in variables.may_be_unset:
                document.unset += [] if name in document.unset else [name]
            else:
                variables.unset.append(
                    f"{document.where(path)}: the environment variable {name} is not set; "
                    f"export {name}=... before the run, or write the value in its place"
                )
            return match.group()
        document.variables[name] = variables.environment[name]
        return variables.environment[name]

    return _VARIABLE.sub(replace, value)
