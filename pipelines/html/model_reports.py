"""Reports beside models: left when one is trained, and made again by `gristmill report MODEL` of what lies there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.cut import REPORT
from gristmill.pipelines.html.leaving import left
from gristmill.pipelines.html.model_page import classifier_page, loop_page, student_page
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.loop_state import FOLDER, LoopState

#: What is added to the path of a model for that of its page.
PAGE = ".report.html"
#: The page of the rounds of a loop, in its folder.
_ROUNDS = "rounds.html"


def page_of(model: str) -> str | None:
    """Return the place of the page on a model; None where there is none."""
    return model + PAGE if files.exists(model + PAGE) else None


def leave_model_report(report: Mapping[str, Any], out: str, reporter: Reporter) -> str | None:
    """Write the page of a report beside its model; return its URL, None where it cannot be made."""
    return left(out + PAGE, lambda: _page(report), reporter, f"gristmill report {out}")


def leave_loop_report(rows: Sequence[Mapping[str, Any]], out: str, sampler: str, reporter: Reporter) -> str | None:
    """Write the page of the rounds of a loop; return its URL, None where it cannot be made."""
    url = files.join(out + FOLDER, _ROUNDS)
    return left(url, lambda: loop_page(rows, out, sampler), reporter, f"gristmill report {out}")


def make_model_report(path: str, out: str | None = None) -> str:
    """Make the page on a model of the report beside it, or write it to `out`; return its URL.

    Of a loop the page of its rounds is made as well, in its folder. Raises RecipeError where there is no report.
    """
    if not files.exists(path + REPORT):
        raise RecipeError(f"there is no report {path}{REPORT}; `gristmill distil`, `loop` and `train` write one")
    try:
        content = _page(json.loads(files.read_bytes(path + REPORT)))
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{path}{REPORT} is no report of `gristmill distil` or `train`: {error!r}") from None
    url = out or path + PAGE
    files.write_bytes(url, content)
    if out is None and (rounds := LoopState(path + FOLDER).all_figures()):
        sampler = str(files.read_record(files.join(path + FOLDER, "loop.json"))["sampler"])
        files.write_bytes(files.join(path + FOLDER, _ROUNDS), loop_page(rounds, path, sampler))
    return url


def _page(report: Mapping[str, Any]) -> bytes:
    """Return the page of a report on a student, or on a classifier of two kinds."""
    return student_page(report) if "curves" in report else classifier_page(report)
