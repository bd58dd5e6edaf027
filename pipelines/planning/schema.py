"""The JSON schemas of recipes and of labelling tasks, for editors: `make schema` writes both below configs/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gristmill.operators.base import Operator
from gristmill.operators.extract.extract import Extract
from gristmill.operators.pack import Pack
from gristmill.operators.table import SECTIONS, of_kind
from gristmill.pipelines.label.task import LabelTask
from gristmill.pipelines.recipe.recipe import Recipe
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.spec import AUTO

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, operators with their options included."""
    schema = Recipe.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    for section, kind in SECTIONS.items():
        described = {"description": schema["properties"][section]["description"]}
        schema["properties"][section] = described | _section(of_kind(kind), definitions)
    described = {"description": schema["properties"]["extract"]["description"]}
    schema["properties"]["extract"] = _options(Extract, definitions) | described
    described = {"description": definitions["Write"]["properties"]["pack"]["description"]}
    definitions["Write"]["properties"]["pack"] = _options(Pack, definitions) | described
    definitions["Source"]["properties"]["format"]["enum"] = [AUTO, *FORMATS]
    schema["$defs"] = {name: value for name, value in definitions.items() if _is_used(name, schema)}
    return {"$schema": DIALECT, **schema, "title": "gristmill recipe"}


def task_schema() -> dict[str, Any]:
    """Return the JSON schema of labelling tasks."""
    return {"$schema": DIALECT, **LabelTask.model_json_schema(), "title": "gristmill labelling task"}


def _section(operators: dict[str, type[Operator]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of operators: `name` where no option is required, or `name: options`."""
    alone = [name for name, cls in operators.items() if not _required(cls)]
    with_options = {
        "type": "object",
        "properties": {name: _options(cls, definitions) for name, cls in operators.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"type": ["array", "null"], "items": {"anyOf": [{"enum": alone}, with_options]}}


def _options(cls: type[Operator], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an operator's options: a mapping, a bare value for its shorthand, or null."""
    options = cls.model_json_schema()
    definitions.update(options.pop("$defs", {}))
    summary = (cls.__doc__ or "").strip().splitlines()[0]
    options["description"] = summary
    short = [] if cls.shorthand is None else [options["properties"][cls.shorthand]]
    nothing = [] if _required(cls) else [{"type": "null"}]
    return {"description": summary, "anyOf": [*short, options, *nothing]}


def _required(cls: type[Operator]) -> bool:
    return any(field.is_required() for field in cls.model_fields.values())


def _is_used(name: str, schema: dict[str, Any]) -> bool:
    return f'"#/$defs/{name}"' in json.dumps(schema)


def as_text(schema: dict[str, Any]) -> str:
    """Return a schema as the text of a file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, schema in (("schema.json", recipe_schema()), ("tasks/schema.json", task_schema())):
        Path("configs", file).write_text(as_text(schema))
