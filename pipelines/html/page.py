"""Pages of one file: templates filled with values, everything from outside escaped, nothing fetched, no script.

The policy in each page's head allows its own style sheet, by digest, and nothing else: whatever a document holds, a
browser neither runs nor fetches it.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

from gristmill.pipelines.config.quoting import printable
from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.html.svg import figure

#: Package of the templates of reports.
PACKAGE = "gristmill.pipelines.html"


def render(template: str, **values: Any) -> bytes:
    """Return a page (UTF-8): the same bytes for the same values."""
    style = report_style()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    text = environment(PACKAGE).get_template(template).render(style=Markup(style), policy=policy, **values)
    return text.encode("utf-8", "replace")


@cache
def report_style() -> str:
    """Return the style sheet of reports."""
    return resources.files(PACKAGE).joinpath("templates", "style.css").read_text("utf-8")


@cache
def environment(*packages: str) -> Environment:
    """Return what fills the templates of some packages, all values escaped; the first that has a template gives it."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figure=figure, units=in_units, count=_count, percent=_percent, plural=plural, coded=_coded
    )
    return environment


def _visible(value: Any) -> Any:
    """Return a text with everything escaped that a browser would not show, or that turns the direction of writing."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _coded(text: str) -> Markup:
    """Return a sentence whose parts between backticks are code."""
    parts = [escape(printable(part)) for part in text.split("`")]
    if len(parts) % 2 == 0:  # one without a partner
        return escape(printable(text))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _count(value: float) -> str:
    return f"{value:,}"


def _percent(share: float, digits: int = 1) -> str:
    """Return a share in percent; one that is nearly none or all never reads as 0 or 100 %."""
    text = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if float(text) == 0 and share > 0:
        return f"<{least:g}%"
    if float(text) == 100 and share < 1:
        return f">{100 - least:g}%"
    return f"{text}%"
