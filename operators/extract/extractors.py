"""The extractors, each a function from HTML to text. Loaded only where a recipe extracts."""

from __future__ import annotations

import html
import re

import trafilatura
from resiliparse.extract.html2text import extract_plain_text

#: A formula as scripts of MathJax have it: extractors drop all scripts.
_TEX_SCRIPT = re.compile(r"<script[^>]+type\s*=\s*[\"']?math/tex([^>\"']*)[\"']?[^>]*>(.*?)</script>", re.I | re.S)
_MATHML = re.compile(r"<math\b.*?</math>", re.I | re.S)
_ANNOTATION = re.compile(
    r"<annotation[^>]+encoding\s*=\s*[\"']application/x-tex[\"'][^>]*>(.*?)</annotation>", re.I | re.S
)
_ALTERNATIVE = re.compile(r"<math\b[^>]*\balttext\s*=\s*(?:\"([^\"]*)\"|'([^']*)')", re.I)
_TAG = re.compile(r"<[^>]+>")


def plain_trafilatura(page: str) -> str | None:
    """Return the text by trafilatura: fast, without comments."""
    return _by_trafilatura(page, "txt")


def markdown_trafilatura(page: str) -> str | None:
    """Return the text by trafilatura as Markdown."""
    return _by_trafilatura(page, "markdown")


def _by_trafilatura(page: str, output: str) -> str | None:
    text: str | None = trafilatura.extract(page, fast=True, include_comments=False, output_format=output)
    return text


def plain_resiliparse(page: str) -> str | None:
    """Return the main content by resiliparse: without alternative texts and comments."""
    text: str = extract_plain_text(page, preserve_formatting=True, main_content=True, alt_texts=False, comments=False)
    return text


def with_formulas(page: str) -> str:
    """Return a page in which formulas are text that extractors keep: `$$...$$` on lines of their own, else `$...$`."""
    lower = page.lower()
    if "math/tex" in lower:
        page = _TEX_SCRIPT.sub(lambda match: _formula(html.escape(match[2], quote=False), "display" in match[1]), page)
    if "<math" in lower:
        page = _MATHML.sub(_of_mathml, page)
    return page


def _of_mathml(match: re.Match[str]) -> str:
    """Return a formula of MathML by its TeX, where it carries that, else by its characters."""
    source = match[0]
    display = re.match(r"<math\b[^>]*\bdisplay\s*=\s*[\"']?block", source, re.I) is not None
    if tex := _ANNOTATION.search(source):
        return _formula(tex[1].strip(), display)
    if alternative := _ALTERNATIVE.match(source):
        return _formula(alternative[1] or alternative[2] or "", display)
    return f" {' '.join(_TAG.sub(' ', source).split())} "


def _formula(tex: str, display: bool) -> str:
    return f"<p>$${tex}$$</p>" if display else f" ${tex}$ "
