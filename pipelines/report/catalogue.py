"""`gristmill operators`: the catalogue, made from docstrings and schemas."""

from __future__ import annotations

import inspect
from typing import Any

from gristmill.operators.base import Measure, Operator, Transform
from gristmill.operators.errors import RecipeError
from gristmill.operators.table import operators
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.recipe.recipe import section_of


def catalogue() -> list[dict[str, Any]]:
    """Return name, recipe section and first line of every operator."""
    return [
        {"name": n, "section": section_of(cls), "summary": _doc(cls).splitlines()[0]} for n, cls in operators().items()
    ]


def describe(name: str) -> dict[str, Any]:
    """Return all about one operator: documentation, fields, columns. Raises RecipeError for an unknown name."""
    cls = operators().get(name)
    if cls is None:
        raise RecipeError(f"{name} is not an operator{did_you_mean(name, operators())}")
    schema = cls.model_json_schema()
    fields = [
        {
            "name": key,
            "default": None if key in schema.get("required", ()) else field.get_default(call_default_factory=True),
            "required": field.is_required(),
            "description": field.description or "",
        }
        for key, field in cls.model_fields.items()
    ]
    return {
        "name": name,
        "section": section_of(cls),
        "documentation": _doc(cls),
        "fields": fields,
        "columns": _columns(cls),
    }


def _doc(cls: type[Operator]) -> str:
    return inspect.cleandoc(cls.__doc__ or "")


def _columns(cls: type[Operator]) -> list[dict[str, str]]:
    if not issubclass(cls, Measure | Transform):
        return []
    # Columns may follow the options: shown as the defaults give them, required options as their names in capitals.
    options: dict[str, Any] = {
        k: k.upper() if f.is_required() else f.get_default(call_default_factory=True)
        for k, f in cls.model_fields.items()
    }
    sample = cls.model_construct(**options)
    return [
        {"name": f.name, "type": str(f.type), "description": (f.metadata or {}).get(b"description", b"").decode()}
        for f in sample.gives()
    ]
