"""The extraction of a recipe: by which extractor a page becomes text, within which limits."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Literal, NamedTuple, Self

import pyarrow as pa
from pydantic import ByteSize, Field, model_validator

from gristmill.operators.base import Operator, digest_of, field
from gristmill.operators.errors import RecipeError

ExtractorName = Literal["trafilatura", "resiliparse"]
Markup = Literal["plain", "markdown"]
#: From a page in HTML to its text; None where it has none.
ExtractorFunction = Callable[[str], str | None]

EXTRACTOR = "extractor"  #: the column that names the extractor
_MODULE = "gristmill.operators.extract.extractors"


class Extracted(NamedTuple):
    """The text of a page by one extractor."""

    extractor: str
    text: str | None  #: None where the extractor found none
    failure: str | None = None  #: the error of an extractor that failed


class Extract(Operator):
    """Find the text of a page: the article without menus, advertisements and footers.

    `trafilatura` (Barbaresi 2021; fast, without comments) finds it best: F1 0.92 of snippets on its own evaluation
    set. `resiliparse` (Bevendorff et al. 2018; main content) is several times faster: 0.85. Its text stands in where
    that of trafilatura is shorter than `rescue` of it. The column `extractor` says whose text it is.

    With `union` each extractor makes a document of its own of every page. Rules judge each; an `exact_dedup` by `url`
    behind them keeps one of those that pass.
    """

    shorthand: ClassVar[str | None] = "extractor"
    code_version: ClassVar[int] = 2

    extractor: ExtractorName = Field(default="trafilatura", description="whose text a page has")
    union: tuple[ExtractorName, ...] = Field(
        default=(), description="extractors each of which makes a document of a page, in place of `extractor`"
    )
    markup: Markup = Field(
        default="plain", description="`markdown` keeps headings, lists, tables and code as Markdown (trafilatura)"
    )
    rescue: float = Field(
        default=0.3,
        ge=0,
        le=1,
        description="share of the text of resiliparse below which that stands in for the text of trafilatura; 0: never",
    )
    page_bytes: ByteSize = Field(default=ByteSize(10_000_000), gt=0, description="a larger page is quarantined")
    seconds: int = Field(default=5, gt=0, description="processor time that a page may take; beyond it is quarantined")

    @model_validator(mode="after")
    def _check_union(self) -> Self:
        if len(set(self.union)) != len(self.union) or len(self.union) == 1:
            raise ValueError("union names two extractors or more, each once")
        if self.union and "extractor" in self.model_fields_set:
            raise ValueError("write either extractor or union")
        if self.markup == "markdown" and "resiliparse" in self.extractors:
            raise ValueError("resiliparse gives no Markdown: take trafilatura, or markup: plain")
        return self

    @property
    def extractors(self) -> tuple[ExtractorName, ...]:
        """Return the names of the extractors that make documents, in order."""
        return self.union or (self.extractor,)

    def gives(self) -> pa.Schema:
        """Return the columns that documents get besides those of their source."""
        return pa.schema([field(EXTRACTOR, pa.string(), "whose text it is")])

    def fingerprint(self, digests: Mapping[str, str]) -> str:
        """Return a digest of all that decides the texts: fields, and versions of the extractors' packages."""
        versions = {name: _version(name) for name in (*self._needed(), "lxml")}
        return digest_of([super().fingerprint(digests), versions])

    def check(self, files: Mapping[str, Any]) -> None:
        """Raise RecipeError where a package is not installed."""
        for name in self._needed():
            if _version(name) is None:
                raise RecipeError(f"extract: {name} is not installed; pip install 'gristmill[web]'")

    def extract(self, page: bytes) -> list[Extracted]:
        """Return the text of a page in HTML (UTF-8) by each extractor, in order. No error is raised."""
        try:
            html = page.decode()
            if b"math" in page and (b"<math" in page or b"math/tex" in page):  # bytes are searched faster than texts
                html = importlib.import_module(_MODULE).with_formulas(html)
        except Exception as error:
            return [_failed(name, error) for name in self.extractors]
        return [self._by(name, html) for name in self.extractors]

    def load(self) -> None:
        """Import the packages, which takes a second, before the first page."""
        for name in self.extractors:
            self._function(name)("<html><body><p>A page.</p></body></html>")

    def _needed(self) -> tuple[ExtractorName, ...]:
        return ("trafilatura", "resiliparse")  # the second also maps the names of encodings

    def _by(self, name: ExtractorName, page: str) -> Extracted:
        try:
            if name == "trafilatura" and not self.union and self.rescue and self.markup == "plain":
                return Extracted(*importlib.import_module(_MODULE).rescued_trafilatura(page, self.rescue))
            return Extracted(name, self._function(name)(page))
        except Exception as error:  # whatever a page brings about in a parser is the page's fault
            return _failed(name, error)

    def _function(self, name: ExtractorName) -> ExtractorFunction:
        function: ExtractorFunction = getattr(importlib.import_module(_MODULE), f"{self.markup}_{name}")
        return function


def _failed(name: str, error: Exception) -> Extracted:
    return Extracted(name, None, f"{type(error).__name__}: {error}"[:200])


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def load(extract: Extract) -> None:
    """Call `Extract.load`: a plain function, as processes take it."""
    extract.load()


def extract_page(extract: Extract, page: bytes) -> list[Extracted]:
    """Call `Extract.extract`: a plain function, as processes take it."""
    return extract.extract(page)
