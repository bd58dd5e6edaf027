"""Mistakes in a recipe, gathered so that all are reported at once: `recipe.yaml:14: what is wrong; what is right`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.located_yaml import LocatedYaml, Path
from gristmill.pipelines.config.wording import did_you_mean, in_short_form, plural


class Section(BaseModel):
    """A part of a YAML file: frozen, unknown keys are mistakes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


#: Requirement on a value by pydantic's kind of error; `{}` is filled from the error's context.
MUST_BE = {
    "int_type": "be a whole number",
    "int_parsing": "be a whole number",
    "int_from_float": "be a whole number",
    "float_type": "be a number",
    "float_parsing": "be a number",
    "finite_number": "be a finite number",
    "bool_type": "be true or false",
    "bool_parsing": "be true or false",
    "string_type": "be text, in quotes if need be",
    "string_too_short": "not be empty",
    "string_pattern_mismatch": "be a plain name: letters, digits, `.`, `_` and `-`, a letter or digit first",
    "too_short": "have at least {min_length} entry",
    "greater_than": "be more than {gt}",
    "greater_than_equal": "be {ge} or more",
    "less_than": "be less than {lt}",
    "less_than_equal": "be {le} or less",
    "byte_size": "be a size such as 256MB",
    "byte_size_unit": "be a size such as 256MB",
    "tuple_type": "be a list (lines that begin with `- `)",
    "list_type": "be a list (lines that begin with `- `)",
    "dict_type": "be a mapping (`key: value`)",
    "model_type": "be a mapping (`key: value`)",
    "literal_error": "be {expected}",
}
#: Largest number of mistakes that are looked at: more than that have one cause.
MOST_TOLD = 100
#: Pydantic's names for one of the types that a value may have.
_ALTERNATIVE = re.compile(r"(str|int|float|bool|Target|constrained-\w+|literal|\w+\[.*\])$")


class Mistakes:
    """Mistakes found so far in one document."""

    def __init__(self, document: LocatedYaml) -> None:
        self._document = document
        self._found: dict[str, int] = {}

    def where(self, path: Path) -> str:
        """Return `recipe.yaml:14` for the value at a path."""
        return self._document.where(path)

    def add(self, path: Path, message: str, word: str = "") -> None:
        """Note a mistake in the value at a path, or in one word of it."""
        self._note(f"{self._document.where(path, word)}: {message}", path, word)

    def add_invalid(self, error: ValidationError, path: Path, model: type[BaseModel]) -> None:
        """Note all pydantic errors of the value at a path, which was to be a `model`."""
        by_place: dict[Path, list[ErrorDetails]] = {}
        for e in error.errors()[:MOST_TOLD]:
            by_place.setdefault(_place(e), []).append(e)
        for place, errors in by_place.items():
            if not _follows_from_others(place, errors[0]["type"], by_place, model):
                message, word = _complaint(place, errors, path, model)
                self.add((*path, *place), message, word)

    @contextmanager
    def noted(self, path: Path) -> Iterator[None]:
        """Catch a RecipeError of the block that has no line number, and note it at a path."""
        try:
            yield
        except RecipeError as error:
            self.add(path, str(error))

    @contextmanager
    def located(self, path: Path) -> Iterator[None]:
        """Catch a RecipeError of the block that has its own line number, and note it."""
        try:
            yield
        except RecipeError as error:
            self._note(str(error), path)

    def _note(self, located: str, path: Path, word: str = "") -> None:
        self._found.setdefault(located, self._document.line(path, word))

    def raise_if_any(self) -> None:
        """Raise RecipeError with all mistakes, by line."""
        lines = sorted(self._found, key=self._found.__getitem__)
        if len(lines) == 1:
            raise RecipeError(lines[0])
        if lines:
            listing = "".join(f"\n  {line}" for line in lines)
            raise RecipeError(f"{self._document.file} has {plural(len(lines), 'mistake')}{listing}")


def _complaint(place: Path, errors: Sequence[ErrorDetails], path: Path, model: type[BaseModel]) -> tuple[str, str]:
    """Return the complaint about a value, and the word in it that is wrong. Several errors: it fits no alternative."""
    kind, value = errors[0]["type"], errors[0]["input"]
    name = ".".join(part for part in (*path, *place) if isinstance(part, str)) or "the recipe"
    if kind == "extra_forbidden":
        key = str(place[-1])
        return f"{key} is not known here{did_you_mean(key, _keys(model, place[:-1]))}", ""
    if kind == "missing":
        return f"{name} is missing", ""
    if kind == "value_error":
        message = str(errors[0]["ctx"]["error"])
        return f"{name}: {message}", _quoted_part(value, message)
    detail = "" if isinstance(value, dict | list) else f" (found {_as_yaml(value)})"
    requirements = dict.fromkeys(map(_wanted, errors))
    return f"{name} must {' or '.join(requirements)}{detail}{_nearest(value, errors)}", ""


def _wanted(error: ErrorDetails) -> str:
    limits = error.get("ctx", {}).items()
    whole = {key: int(v) if isinstance(v, float) and v.is_integer() else v for key, v in limits}
    if error["type"] in MUST_BE:
        return MUST_BE[error["type"]].format(**whole)
    return error["msg"].removeprefix("Input should ")


def _follows_from_others(place: Path, kind: str, places: Iterable[Path], model: type[BaseModel]) -> bool:
    """Return whether other mistakes explain this one: an error within the value, or a misspelt key that is missing."""
    if any(len(other) > len(place) and other[: len(place)] == place for other in places):
        return True
    misspelt = (other for other in places if kind == "missing" and other != place and other[:-1] == place[:-1])
    keys = _keys(model, place[:-1])
    return any(
        other[-1] not in keys and difflib.get_close_matches(str(other[-1]), keys, n=1) == [place[-1]]
        for other in misspelt
    )


def _place(error: ErrorDetails) -> Path:
    """Return pydantic's location without the parts that name one of the types of a value instead of a key."""
    keys = 1 if error["type"] in ("extra_forbidden", "missing") else 0  # the last part is a key, even if like a type
    certain = len(error["loc"]) - keys
    return tuple(p for i, p in enumerate(error["loc"]) if i >= certain or not _ALTERNATIVE.match(str(p)))


def _quoted_part(value: Any, message: str) -> str:
    """Return the key or entry of a mapping or list that a message quotes, or an empty text."""
    parts = value if isinstance(value, dict | list) else ()
    return next((part for part in parts if isinstance(part, str) and repr(part) in message), "")


def _nearest(word: Any, errors: Sequence[ErrorDetails]) -> str:
    """Return `; did you mean jsonl?` for a word near one that pydantic expected ('jsonl' or 'json')."""
    expected = "".join(e["ctx"]["expected"] for e in errors if e["type"] == "literal_error").split("'")[1::2]
    near = difflib.get_close_matches(str(word), expected, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _as_yaml(value: Any) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else in_short_form(value)


def _keys(model: type[BaseModel], location: Path) -> list[str]:
    """Return the keys that the model at a location takes."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            inner = _model_in(model.model_fields[part].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, getattr(annotation, "__args__", ()))), None)
