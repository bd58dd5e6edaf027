"""`--set sources.docs.path=...`: values of a recipe replaced from the command line.

A key leads through mappings by name. An entry of a list goes by its own `name` (sources, rules), by its operator, by
its name in the funnel (`drop_2`), or by its position from 0: `decide.select.documents=500`, `sources.0.path=x.jsonl`.
"""

from __future__ import annotations

from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.table import operators
from gristmill.pipelines.config.located_yaml import LocatedYaml, Path, parse_value
from gristmill.pipelines.config.wording import did_you_mean


def override(document: LocatedYaml, text: str) -> None:
    """Apply one `key=value` to the document. Raises RecipeError where the key leads nowhere."""
    key, separator, value = text.partition("=")
    parts = key.strip().split(".")
    option = f"--set {text}"
    if not separator or not all(parts):
        raise RecipeError(f"{option}: write --set key=value, such as --set decide.select.documents=500")
    holder: Any = document.value
    path: Path = ()
    for part in parts[:-1]:
        holder, slot, path = _slot(holder, part, path, option)
        holder[slot] = _opened(holder.get(slot) if isinstance(holder, dict) else holder[slot], path)
        holder = holder[slot]
    holder, slot, path = _slot(holder, parts[-1], path, option)
    holder[slot] = parse_value(value, option)
    document.overrides[path] = option


def _slot(holder: Any, part: str, path: Path, option: str) -> tuple[Any, str | int, Path]:
    """Find the value called `part`: return the mapping or list that holds it, its key or index there, and its path."""
    if isinstance(holder, dict):
        return holder, part, (*path, part)
    if not isinstance(holder, list):
        raise RecipeError(f"{option}: there is nothing below {holder!r}")
    positions = [i for i, item in enumerate(holder) if part in (str(i), *_names(item))]
    if not positions and (numbered := _numbered(holder, part)) is not None:
        positions = [numbered]
    if len(positions) > 1 and len(nameless := [i for i in positions if _names(holder[i]) == [part]]) == 1:
        positions = nameless  # the others go by names of their own
    if len(positions) > 1:
        raise RecipeError(
            f"{option}: {len(positions)} entries are called {part}; name one by its position, "
            f"{' or '.join('.'.join(map(str, (*path, i))) for i in positions)}"
        )
    if not positions:
        raise RecipeError(
            f"{option}: there is no {part}{did_you_mean(part, {name for item in holder for name in _names(item)})}"
        )
    item = holder[positions[0]]
    if isinstance(item, str) and item in operators():  # `- exact_dedup` is `- exact_dedup: {}`
        holder[positions[0]] = item = {item: None}
    operator = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else None
    if operator in operators():
        return item, operator, (*path, positions[0], operator)
    return holder, positions[0], (*path, positions[0])


def _names(item: Any) -> list[str]:
    """Return the names of an entry of a list: its own, and that of its operator."""
    if isinstance(item, str):
        return [item]
    if not isinstance(item, dict):
        return []
    options = next(iter(item.values())) if len(item) == 1 else None
    named = [entry.get("name") for entry in (item, options) if isinstance(entry, dict)]
    return [str(name) for name in [*named, *(key for key in item if key in operators())] if name is not None]


def _numbered(entries: list[Any], name: str) -> int | None:
    """Return the position of a rule without a name of its own by its name in the funnel: `drop_2` is the second."""
    operator, _, number = name.rpartition("_")
    if operator not in operators() or not number.isdecimal():
        return None
    alike = [i for i, entry in enumerate(entries) if _names(entry) == [operator]]
    return alike[int(number) - 1] if 2 <= int(number) <= len(alike) else None


def _opened(value: Any, path: Path) -> Any:
    """Return a value as a container: options given in short are written out, nothing becomes an empty mapping."""
    operator = operators().get(str(path[-1]))
    if value is None:
        return {}
    if isinstance(value, dict | list) or operator is None or operator.shorthand is None:
        return value
    return {operator.shorthand: value}
