"""Checks of an environment on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from gristmill.pipelines.config.quoting import in_one_line

_STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "wrong": "bold red"}
_MARKS = {"ok": "ok", "note": "-", "warning": "!", "wrong": "wrong"}


def show_checks(checks: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print a line for each check, what to do below it, and how many are wrong."""
    width = max((len(check["name"]) for check in checks), default=0)
    area = ""
    for check in checks:
        if check["area"] != area:
            area = check["area"]
            console.print(area, style="bold")
        line = f"  {_MARKS[check['state']]:<5}  {check['name']:<{width}}  {in_one_line(check['found'])}"
        remedy = f" ({check['remedy']})" if check["remedy"] and check["state"] == "note" else ""
        console.print(f"{line}{remedy}", style=_STYLES[check["state"]])
        if check["remedy"] and not remedy:
            console.print(f"  {'':<5}  {'':<{width}}  -> {check['remedy']}", style=_STYLES[check["state"]])
    wrong = sum(check["state"] == "wrong" for check in checks)
    warnings = sum(check["state"] == "warning" for check in checks)
    told = f"{wrong:,} wrong, {warnings:,} to look at" if wrong or warnings else "all is well"
    console.print(told, style="bold red" if wrong else "bold")
