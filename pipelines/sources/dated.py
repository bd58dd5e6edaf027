"""Paths with dates in them: `crawl/{date:%Y-%m-%d}/*.parquet` stands for one path a night."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

from gristmill.operators.errors import RecipeError

_DATE = re.compile(r"\{date(?::([^{}]*))?\}")
_ISO = "%Y-%m-%d"
#: Directives of strftime that a path may have, and what they match.
_DIRECTIVES = {"Y": r"\d{4}", "m": r"\d{2}", "d": r"\d{2}", "j": r"\d{3}", "y": r"\d{2}", "G": r"\d{4}", "V": r"\d{2}"}


def is_dated(patterns: Iterable[str]) -> bool:
    """Return whether a path has a date in it."""
    return any(_DATE.search(pattern) for pattern in patterns)


def dates_from(first: date, last: date) -> tuple[date, ...]:
    """Return all dates from the first to the last. Raises RecipeError where the first comes after it."""
    if first > last:
        raise RecipeError(f"the first night, {first}, comes after the last, {last}")
    return tuple(first + timedelta(days) for days in range((last - first).days + 1))


def check(pattern: str) -> None:
    """Raise RecipeError where a date in a path cannot be filled in, or not be read again from a file's path."""
    for given in _DATE.findall(pattern):
        for directive in re.findall(r"%(.?)", given or _ISO):
            if directive not in _DIRECTIVES:
                raise RecipeError(
                    f"{pattern}: a date in a path is made of %Y, %m and %d (or %y, %j, %G, %V), not %{directive}"
                )


def expanded(patterns: Iterable[str], dates: Sequence[date]) -> dict[str, date | None]:
    """Return the paths that patterns stand for, each with its first date; None for those without a date."""
    paths: dict[str, date | None] = {}
    for pattern in patterns:
        if not _DATE.search(pattern):
            paths.setdefault(pattern, None)
            continue
        for day in dates:
            paths.setdefault(_DATE.sub(lambda found, day=day: day.strftime(found[1] or _ISO), pattern), day)  # type: ignore[misc]
    return paths


def night_of(url: str, patterns: Iterable[str]) -> date | None:
    """Return the date in the URL of a file that a dated path stands for; None where it has none.

    What stands right before and after the date in the path is looked for in the URL.
    """
    for pattern in patterns:
        if (found := _DATE.search(pattern)) is None:
            continue
        given = found[1] or _ISO
        before = re.split(r"[*?\[\]{}]", pattern[: found.start()].removeprefix("./"))[-1]
        after = re.split(r"[*?\[\]{}]", pattern[found.end() :])[0]
        parts = re.split(r"%(.)", given)
        shape = "".join(
            _DIRECTIVES.get(part, re.escape(part)) if i % 2 else re.escape(part) for i, part in enumerate(parts)
        )
        if (at := re.search(f"{re.escape(before)}({shape}){re.escape(after)}", url)) is not None:
            try:
                return datetime.strptime(at[1], given).date()
            except ValueError:
                continue
    return None
