"""YAML whose values know their line, so that an error can say `recipe.yaml:14: ...`."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from operators.errors import RecipeError

#: Keys and list indices from the root down to a value.
Path = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: Shorter values are not hidden: replacing every "1" in a manifest would help nobody.
_SHORTEST_SECRET = 4


class Span(NamedTuple):
    """The lines of the file that a value stands on, its key included; both count from 1."""

    first: int
    last: int


@dataclass
class LocatedYaml:
    """A YAML document: its values with environment variables resolved, the lines of each, and the variables' values."""

    file: str
    value: Any
    text: Sequence[str] = ()  #: the file's lines
    spans: dict[Path, Span] = field(default_factory=dict)
    overrides: dict[Path, str] = field(default_factory=dict)  #: what replaced a value of the file
    variables: dict[str, str] = field(default_factory=dict)

    def line(self, path: Path, word: str = "") -> int:
        """The line of a value, or of the nearest value around it that is written in the file; 0 where there is none.

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
        """`recipe.yaml:14` for `line`; what replaced the value where something did."""
        for n in range(len(path), 0, -1):
            if path[:n] in self.overrides:
                return self.overrides[path[:n]]
        line = self.line(path, word)
        return f"{self.file}:{line}" if line else self.file

    def redact(self, text: str) -> str:
        """The text with the value of every resolved variable replaced by its name: secrets stay out of what is kept."""
        for name, value in sorted(self.variables.items(), key=lambda item: -len(item[1])):
            if len(value) >= _SHORTEST_SECRET:
                text = text.replace(value, "${" + name + "}")
        return text

    def redact_value(self, value: Any) -> Any:
        """`redact` on every text inside a value."""
        if isinstance(value, dict):
            return {key: self.redact_value(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.redact_value(inner) for inner in value]
        return self.redact(value) if isinstance(value, str) else value


class _Variables(NamedTuple):
    """Where `${NAME}` is looked up."""

    environment: Mapping[str, str]
    may_be_unset: Collection[str]  #: keys of the document below which a variable that is not set stays as written
    unset: list[str]  #: mistakes found: variables that are not set, with their lines


def load(
    text: str, file: str, environment: Mapping[str, str] = os.environ, may_be_unset: Collection[str] = ()
) -> LocatedYaml:
    """Parse YAML (safe: plain values only). Unset variables, repeated keys and syntax errors raise RecipeError.

    may_be_unset: keys of the document below which `${NAME}` is left as it stands where there is no such variable.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
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


def parse_value(text: str) -> Any:
    """The value of a `--set key=value` override, read as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _syntax_error(error: yaml.MarkedYAMLError) -> str:
    """`:7: this is not valid YAML: ...`. A bracket or quote that is never closed is told by the line that opens it."""
    noticed, began = error.problem_mark, error.context_mark
    what = ", ".join(filter(None, [error.context, error.problem]))
    if noticed is None or began is None or began.line == noticed.line:
        mark = noticed or began
        return f"{f':{mark.line + 1}' if mark else ''}: this is not valid YAML: {what}"
    return f":{began.line + 1}: this is not valid YAML: {what} in line {noticed.line + 1}"


def _construct(node: Any, path: Path, document: LocatedYaml, constructor: Any, variables: _Variables) -> Any:
    document.spans.setdefault(path, _span(node, node))
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise RecipeError(f"{document.where(path)}: the tag {node.tag} is not for recipes; plain values only")
    if isinstance(node, yaml.MappingNode):
        return dict(_construct_mapping(node, path, document, constructor, variables))
    if isinstance(node, yaml.SequenceNode):
        return [_construct(n, (*path, i), document, constructor, variables) for i, n in enumerate(node.value)]
    value = constructor.construct_object(node)
    return _resolve(value, path, document, variables) if isinstance(value, str) else value


def _construct_mapping(
    node: Any, path: Path, document: LocatedYaml, constructor: Any, variables: _Variables
) -> Iterator[tuple[str, Any]]:
    seen: dict[Any, int] = {}
    for key_node, value_node in node.value:
        key, line = constructor.construct_object(key_node), key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise RecipeError(
                f"{document.file}:{line}: the key {key!r} is not text; write it in quotes if it is a name"
            )
        if key in seen:
            raise RecipeError(f"{document.file}:{line}: {key} stands here a second time (first in line {seen[key]})")
        seen[key] = line
        document.spans[(*path, key)] = _span(key_node, value_node)
        yield key, _construct(value_node, (*path, key), document, constructor, variables)


def _span(first: Any, last: Any) -> Span:
    """From the first line of one node to the last of another (a block ends at the beginning of what follows it)."""
    end = last.end_mark
    return Span(first.start_mark.line + 1, max(first.start_mark.line, end.line - (end.column == 0)) + 1)


def _resolve(value: str, path: Path, document: LocatedYaml, variables: _Variables) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables.environment:
            if not (path and path[0] in variables.may_be_unset):
                variables.unset.append(
                    f"{document.where(path)}: the environment variable {name} is not set; "
                    f"export {name}=... before the run, or write the value in its place"
                )
            return match.group()
        document.variables[name] = variables.environment[name]
        return variables.environment[name]

    return _VARIABLE.sub(replace, value)
