"""The result of a run as HTML, for notebooks: the funnel as a table, and where the dataset is."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from gristmill.pipelines.config.quoting import printable
from gristmill.pipelines.config.wording import in_units

if TYPE_CHECKING:
    from gristmill.pipelines.stages.context import RunResult


def result_html(result: RunResult) -> str:
    """Return a table of what came in, what each rule dropped and what was kept; all names are escaped."""
    funnel = result.funnel
    rows = [_row("records", funnel.records), _row("quarantined", funnel.quarantined, funnel.records)]
    rows = rows if funnel.quarantined else []
    rows.append(_row("input", funnel.documents, tokens=funnel.tokens))
    rows += [_row(f"- {rule.name}", rule.dropped, rule.seen, rule.dropped_tokens) for rule in funnel.rules]
    rows.append(_row("kept", funnel.kept, funnel.documents, funnel.kept_tokens, "strong"))
    headings = "".join(f"<th>{heading}</th>" for heading in ("", "documents", "of what came in", "tokens"))
    seconds = f"{result.seconds:.1f} s{', all cached' if result.cached else ''}"
    where = f"{_text(result.recipe)}: {_text(result.dataset)} ({seconds})"
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{''.join(rows)}</tbody></table><p>{where}</p>"


def _row(label: str, n: int, of: int = 0, tokens: int | None = None, element: str = "span") -> str:
    cells = (f"{n:,}", f"{n / of:.1%}" if of else "", "" if tokens is None else in_units(tokens))
    figures = "".join(f'<td style="text-align: right">{cell}</td>' for cell in cells)
    return f'<tr><td style="text-align: left"><{element}>{_text(label)}</{element}></td>{figures}</tr>'


def _text(value: str) -> str:
    return escape(printable(value))
