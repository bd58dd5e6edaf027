"""The extractors, each a function from HTML to text. Loaded only where a recipe extracts."""

from __future__ import annotations

import html
import re

import trafilatura
from lxml import etree
from lxml.html import HtmlComment, HtmlElement, HtmlEntity, HtmlProcessingInstruction
from resiliparse.extract.html2text import extract_plain_text
from trafilatura.settings import Extractor
from trafilatura.utils import HTML_PARSER, load_html

#: Fast and without comments. Made once: trafilatura would read its configuration anew for each page.
_OPTIONS = {output: Extractor(output_format=output, fast=True, comments=False) for output in ("txt", "markdown")}
# Elements of one class: lxml.html otherwise asks a function in Python for the class of each.
HTML_PARSER.set_element_class_lookup(
    etree.ElementDefaultClassLookup(HtmlElement, HtmlComment, HtmlProcessingInstruction, HtmlEntity)
)

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


def _by_trafilatura(page: str | HtmlElement, output: str) -> str | None:
    text: str | None = trafilatura.extract(page, options=_OPTIONS[output])
    return text


def rescued_trafilatura(page: str, share: float) -> tuple[str, str | None]:
    """Return the extractor that is taken and its text: resiliparse where trafilatura finds too little.

    That is less than a share of the text of resiliparse, white space not counted. Where it is at least that share of
    all text of the page, scripts and styles left out, the text of resiliparse is not looked at: it is a part of that.
    """
    tree = load_html(page)
    if tree is None:
        return "resiliparse", plain_resiliparse(page)
    whole = _visible(tree.xpath("string()")) - sum(_visible(unseen.text or "") for unseen in tree.iter(*_UNSEEN))
    text = _by_trafilatura(tree, "txt")
    length = _visible(text or "")
    if length < share * whole:
        other = plain_resiliparse(page)
        if length < share * _visible(other or ""):
            return "resiliparse", other
    return "trafilatura", text


def _visible(text: str) -> int:
    return len(text) - sum(map(text.count, " \n\t\r\xa0"))  # each at the speed of memory


_UNSEEN = ("script", "style")


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
