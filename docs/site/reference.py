"""Reference pages, made from the code: operators, fields of recipes and tasks, commands, exit codes, extras."""

from __future__ import annotations

import html
import inspect
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import ByteSize, TypeAdapter

from gristmill.operators.base import Count, Operator, Rule
from gristmill.operators.extract.extract import Extract
from gristmill.operators.pack import Pack
from gristmill.operators.table import OPERATORS, of_kind
from gristmill.operators.table import SECTIONS as KINDS
from gristmill.pipelines.cli.common import EXIT_CODES, UNPUBLISHED
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.planning.schema import recipe_schema, task_schema
from gristmill.pipelines.readers.mix_options import MixtureOptions
from gristmill.pipelines.report.catalogue import describe
from gristmill.pipelines.start.checks import EXTRAS

ROOT = Path(__file__).parents[2]
Schema = Mapping[str, Any]


# Operators


def operators(section: str, title: str, introduction: str) -> str:
    """Return the page of the operators of one section of recipes."""
    named = {name: cls for name, cls in of_kind(KINDS[section]).items() if name in OPERATORS}
    parts = [f"# {title}", introduction, *(_operator(name, cls) for name, cls in named.items())]
    return "\n\n".join(parts) + "\n"


def _operator(name: str, cls: type[Operator]) -> str:
    described = describe(name)
    summary, _, rest = _linked(described["documentation"]).partition("\n")
    parts = [f"## {name}", summary, rest.strip(), *_options(cls)]
    given = described["columns"] or _given_by_rule(cls, name)
    if given:
        rows = [(f"`{column['name']}`", f"`{column['type']}`", column["description"]) for column in given]
        parts.append(_table(("column", "type", ""), rows))
    parts.append(f"Source: `{cls.__module__.removeprefix('gristmill.').replace('.', '/')}.py`")
    return "\n\n".join(part for part in parts if part)


def _options(cls: type[Operator]) -> Iterator[str]:
    schema = cls.model_json_schema()
    definitions = schema.pop("$defs", {})
    if schema.get("properties"):
        short = f"`{cls.shorthand}` may stand alone: a bare value is that option." if cls.shorthand else ""
        yield from (_fields(schema, definitions, "option"), short)
    else:
        yield "No options."
    for name, definition in definitions.items():
        if "properties" in definition:
            yield f"### {name}\n\n{inspect.cleandoc(definition.get('description', ''))}"
            yield _fields(definition, definitions, "option")


def _given_by_rule(cls: type[Operator], name: str) -> list[dict[str, str]]:
    """Return the columns that a rule gives with its default options, for those after it."""
    if not issubclass(cls, Rule):
        return []
    options = {
        k: k if f.is_required() else f.get_default(call_default_factory=True) for k, f in cls.model_fields.items()
    }
    return [
        {"name": f.name, "type": str(f.type), "description": (f.metadata or {}).get(b"description", b"").decode()}
        for f in cls.model_construct(**options).gives(name)
    ]


# Schemas


def recipe() -> str:
    """Return the page of the fields of recipes."""
    schema = dict(recipe_schema())
    definitions = schema.pop("$defs")
    lists = {"transform": "transforms.md", "measure": "measures.md", "decide": "rules.md"}
    properties = {
        name: {**field, "type": f"[list of operators]({lists[name]})", "anyOf": None} if name in lists else field
        for name, field in schema["properties"].items()
    }
    properties["extract"] = {"type": "[extract](#extract)", **_described(properties["extract"])}
    definitions["Write"]["properties"]["pack"] = {
        "type": "[pack](#pack)",
        **_described(definitions["Write"]["properties"]["pack"]),
    }
    inner = {name: d for name, d in definitions.items() if name not in ("Target", "NamedIndex", "Quotas")}
    parts = [
        "# Fields of a recipe",
        "A recipe is a YAML file. `configs/schema.json` has the same for editors. `${NAME}` in a value stands for an "
        "environment variable, and `--set decide.select.documents=500` of most commands overrides one value.",
        _fields({**schema, "properties": properties}, inner, "field"),
        *_sections(inner),
        f"## extract\n\n{_prose(Extract)}",
        *_options(Extract),
        f"## pack\n\n{_prose(Pack)}",
        *_options(Pack),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def task() -> str:
    """Return the page of the fields of labelling tasks."""
    return _schema_page(
        "Fields of a labelling task", "A task is a YAML file: see [labelling](../labelling.md).", task_schema()
    )


def mixture() -> str:
    """Return the page of the fields of mixtures."""
    introduction = "A mixture is a YAML file for `gristmill mix`: see [mixtures](../mixtures.md)."
    return _schema_page("Fields of a mixture", introduction, MixtureOptions.model_json_schema())


def _schema_page(title: str, introduction: str, schema: Schema) -> str:
    definitions = schema.get("$defs", {})
    parts = [f"# {title}", introduction, _fields(schema, definitions, "field"), *_sections(definitions)]
    return "\n\n".join(parts) + "\n"


def _sections(definitions: Schema) -> Iterator[str]:
    for name, definition in definitions.items():
        if "properties" in definition:
            yield f"## {name}"
            yield inspect.cleandoc(definition.get("description", ""))
            yield _fields(definition, definitions, "field")


def _prose(cls: type[Operator]) -> str:
    return _linked(inspect.cleandoc(cls.__doc__ or ""))


def _linked(text: str) -> str:
    """Return a docstring in which pages that it names are links."""
    return re.sub(r"(?<!`)docs/(\w+\.md)", r"[\1](../\1)", text)


def _described(field: Schema) -> dict[str, str]:
    return {"description": field["description"]}


def _fields(schema: Schema, definitions: Schema, heading: str) -> str:
    """Return a table of the properties of an object: name, type, default, description."""
    required = schema.get("required", ())
    rows = [
        (
            f"`{name}`",
            type_of(field, definitions),
            "required" if name in required else _default(field.get("default"), type_of(field, definitions)),
            field.get("description") or _description(field, definitions),
        )
        for name, field in schema["properties"].items()
    ]
    return _table((heading, "type", "default", ""), rows)


def _description(field: Schema, definitions: Schema) -> str:
    name = field.get("$ref", "").rpartition("/")[2]
    return str(definitions.get(name, {}).get("description", "")).split("\n")[0]


def _default(value: Any, kind: str = "") -> str:
    if kind == _SIZE and isinstance(value, int):
        return f"`{value / 1e6:g}MB`"
    if value is None or value in ([], {}) or isinstance(value, dict):
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "nothing",
}
_SIZE = "size, such as `8MB`"
#: Numbers that may be written with a unit, by the pattern that their texts follow.
_WRITTEN = {
    next(choice["pattern"] for choice in TypeAdapter(kind).json_schema()["anyOf"] if "pattern" in choice): told
    for kind, told in ((ByteSize, _SIZE), (Count, "number, such as `50k`"))
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def type_of(field: Schema, definitions: Schema) -> str:
    """Return the type that a JSON schema gives a value, in words: `whole number ≥ 1`, `list of text`, ..."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        definition = definitions.get(name, {})
        return f"[{name}](#{name.lower()})" if "properties" in definition else type_of(definition, definitions)
    choices = field.get("anyOf") or field.get("oneOf")
    patterns = {choice.get("pattern") for choice in choices or ()}
    if named := patterns & {*_WRITTEN}:
        return _WRITTEN[named.pop()]
    if choices:
        told = dict.fromkeys(type_of(choice, definitions) for choice in choices if choice.get("type") != "null")
        return " or ".join(name for name in told if name)
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any value")
    if kind == "array":
        items = [type_of(item, definitions) for item in [field.get("items"), *field.get("prefixItems", ())] if item]
        return f"list of {' and '.join(dict.fromkeys(items)) or 'any values'}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"mapping to {type_of(values, definitions)}" if isinstance(values, dict) and values else "mapping"
    bounds = [f"{sign} {field[bound]:,}" for bound, sign in _BOUNDS.items() if bound in field]
    return " ".join([_TYPES.get(kind, kind), ", ".join(bounds)]).strip()


# Commands


def commands() -> str:
    """Return the page of all commands with their arguments and options."""
    parts = ["# Commands", "`gristmill COMMAND --help` prints the same. Exit codes: [exit codes](exit_codes.md)."]
    parts += _commands(typer.main.get_command(app), "gristmill")
    return "\n\n".join(parts) + "\n"


def _commands(group: Any, prefix: str) -> Iterator[str]:
    for name, command in group.commands.items():
        called = f"{prefix} {name}"
        if hasattr(command, "commands"):
            yield f"## {called}\n\n{_escaped(command.help)}"
            yield from _commands(command, called)
            continue
        arguments = [p for p in command.params if not p.opts[0].startswith("-")]
        options = [p for p in command.params if p.opts[0].startswith("-") and p.name != "help"]
        hints = get_type_hints(command.callback, include_extras=True)
        usage = " ".join([called, *(_usage(p) for p in arguments), "[OPTIONS]" if options else ""]).strip()
        level = "##" if prefix == "gristmill" else "###"
        yield f"{level} {called}\n\n{_escaped(inspect.cleandoc(command.help or ''))}\n\n```text\n{usage}\n```"
        rows = [(f"`{_usage(p)}`", "", "required" if p.required else "", _escaped(p.help)) for p in arguments]
        rows += [
            (
                " ".join(f"`{flag}`" for flag in [*p.opts, *p.secondary_opts]),
                _value(p, hints[p.name]),
                "required" if p.required else _default(_plain(p.default) or None),
                _escaped(p.help) + (" May be repeated." if p.multiple and "repeated" not in (p.help or "") else ""),
            )
            for p in options
        ]
        yield _table(("argument or option", "value", "default", ""), rows)


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _value(option: Any, hint: Any) -> str:
    """Return what an option takes: its metavar, its choices, or the type of the command's parameter."""
    if option.metavar:
        return f"`{option.metavar}`"
    kind = _bare(hint)
    if kind is bool:
        return ""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    return {str: "text", int: "whole number", float: "number"}.get(kind, getattr(kind, "__name__", str(kind)))


def _bare(hint: Any) -> Any:
    """Return the type of one value: without None, lists and annotations."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated or origin is list:
        return _bare(arguments[0])
    if origin in (Union, UnionType):
        return _bare(next(argument for argument in arguments if argument is not type(None)))
    return hint


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


# Exit codes and extras


def exit_codes() -> str:
    """Return the page of exit codes."""
    rows = [
        ("0", "done; of `verify` nothing is damaged or gone, of `doctor` nothing is wrong"),
        ("1", "failed: the message says why. What was finished is kept"),
        *(
            (str(code), f"`{kind.__name__}`: {(kind.__doc__ or '').strip().splitlines()[0]}")
            for kind, code in EXIT_CODES.items()
        ),
        (
            str(UNPUBLISHED),
            "`refresh`: the version is written, and a guard holds it back: [versions](../versions.md#nights)",
        ),
        ("128 + n", "ended by signal n: 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM"),
    ]
    text = "All commands end with these. What they mean for a store: [the store](../store.md#ending-a-run)."
    return "\n\n".join(["# Exit codes", text, _table(("code", ""), rows)]) + "\n"


def extras() -> str:
    """Return the page of extras: what each is for and brings along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    brought = project["optional-dependencies"]
    rows = [(f"`{name}`", EXTRAS[name], ", ".join(f"`{r}`" for r in brought[name])) for name in EXTRAS]
    text = (
        f"gristmill {project['version']} runs on Python {project['requires-python']}. Some of what it does needs "
        "packages that `pip install .` leaves out; an extra brings them along: `pip install '.[s3,web]'`. "
        "`gristmill doctor` says which are there."
    )
    core = "Always there: " + ", ".join(f"`{requirement}`" for requirement in project["dependencies"]) + "."
    return "\n\n".join(["# Extras", text, _table(("extra", "for", "packages"), rows), core]) + "\n"


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _cell(text: str) -> str:
    parts = " ".join(text.split()).split("`")
    return "`".join(part if i % 2 else part.replace("|", "&#124;") for i, part in enumerate(parts))  # code keeps bars


def _escaped(text: str | None) -> str:
    return html.escape(text or "", quote=False)


_TRANSFORMS = (
    "Under `transform` in a recipe: they rewrite texts one by one, and drop nothing. All later stages see what they "
    "leave."
)
_MEASURES = (
    "Under `measure` in a recipe: they give columns for each document by itself. A rule that reads a column pulls its "
    "measure in, so a recipe lists only those whose options it sets, or whose columns it writes."
)
_RULES = "Under `decide` in a recipe: they decide from columns which documents stay, in the order of the recipe."


class MadePage(NamedTuple):
    """A page that is made from code."""

    title: str  #: in the navigation
    make: Callable[[], str]


#: By their places in the site.
PAGES = {
    "reference/commands.md": MadePage("Commands", commands),
    "reference/recipe.md": MadePage("Recipes", recipe),
    "reference/transforms.md": MadePage("Transforms", lambda: operators("transform", "Transforms", _TRANSFORMS)),
    "reference/measures.md": MadePage("Measures", lambda: operators("measure", "Measures", _MEASURES)),
    "reference/rules.md": MadePage("Rules", lambda: operators("decide", "Rules", _RULES)),
    "reference/task.md": MadePage("Labelling tasks", task),
    "reference/mixture.md": MadePage("Mixtures", mixture),
    "reference/exit_codes.md": MadePage("Exit codes", exit_codes),
    "reference/extras.md": MadePage("Extras", extras),
}
