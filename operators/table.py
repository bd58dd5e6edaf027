"""Every operator, by the name that recipes use. A new one is a file and a row here, or lies in a package of its own.

A package adds operators by entry points of the group `gristmill.operators`, whose names are those of recipes and whose
values are operators or, for rules that look at all shards, rows:

    [project.entry-points."gristmill.operators"]
    symbol_share = "my_package.symbols:SymbolShare"
    at_most = "my_package.at_most:ROW"
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from gristmill.operators.base import Measure, Operator, Rule, Transform
from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.measures.gopher import Gopher
from gristmill.operators.measures.importance import Importance
from gristmill.operators.measures.language import Language
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.measures.page_statistics import PageStatistics
from gristmill.operators.measures.paragraph_hashes import ParagraphHashes
from gristmill.operators.measures.pii import Pii
from gristmill.operators.measures.quality import Quality
from gristmill.operators.measures.text_hash import TextHash
from gristmill.operators.measures.text_id import TextId
from gristmill.operators.measures.tokens import Tokens
from gristmill.operators.measures.url_lists import UrlLists
from gristmill.operators.rules.cut import CutByWish
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.operators.rules.gopher_rules import GopherRules
from gristmill.operators.rules.page_rules import C4Rules, DclmRules, FinewebRules
from gristmill.operators.rules.paragraph_dedup import ParagraphDedup
from gristmill.operators.rules.select import Select
from gristmill.operators.rules.thresholds import Thresholds
from gristmill.operators.rules.url_rules import UrlRules
from gristmill.operators.transforms.clean_lines import CleanLines
from gristmill.operators.transforms.mask_pii import MaskPii
from gristmill.operators.transforms.normalize_unicode import NormalizeUnicode

PLUGINS = "gristmill.operators"  #: the group of entry points


@dataclass(frozen=True)
class Row:
    """An operator and, for a rule that looks at all shards, the executor that applies it.

    `executor` is `module:NAME` of a `gristmill.pipelines.decide.contract.Executor`, loaded when the rule is used,
    so that this package stays pure.
    """

    operator: type[Operator]
    executor: str | None = None


_RULES = "gristmill.pipelines.decide.rules"

OPERATORS: dict[str, Row] = {
    "normalize_unicode": Row(NormalizeUnicode),
    "mask_pii": Row(MaskPii),
    "clean_lines": Row(CleanLines),
    "gopher": Row(Gopher),
    "page_statistics": Row(PageStatistics),
    "tokens": Row(Tokens),
    "quality": Row(Quality),
    "distilled": Row(Distilled),
    "language": Row(Language),
    "importance": Row(Importance),
    "pii": Row(Pii),
    "text_hash": Row(TextHash),
    "text_id": Row(TextId),
    "minhash": Row(MinHash),
    "paragraph_hashes": Row(ParagraphHashes),
    "url_lists": Row(UrlLists),
    "drop": Row(Drop),
    "gopher_rules": Row(GopherRules),
    "cut": Row(CutByWish),
    "thresholds": Row(Thresholds),
    "url_rules": Row(UrlRules),
    "c4_rules": Row(C4Rules),
    "fineweb_rules": Row(FinewebRules),
    "dclm_rules": Row(DclmRules),
    "exact_dedup": Row(ExactDedup, f"{_RULES}.exact_dedup:EXACT_DEDUP"),
    "fuzzy_dedup": Row(FuzzyDedup, f"{_RULES}.fuzzy_dedup:FUZZY_DEDUP"),
    "paragraph_dedup": Row(ParagraphDedup, f"{_RULES}.paragraph_dedup:PARAGRAPH_DEDUP"),
    "select": Row(Select, f"{_RULES}.select:SELECT"),
}

#: The sections of a recipe that list operators, and the kind that each takes.
SECTIONS: dict[str, type[Operator]] = {"transform": Transform, "measure": Measure, "decide": Rule}


def rows() -> Mapping[str, Row]:
    """Return the rows of all operators, those of plugins last. Raises RecipeError where a plugin is not usable."""
    return {**OPERATORS, **_plugins()}


def operators() -> dict[str, type[Operator]]:
    """Return all operators by name."""
    return {name: row.operator for name, row in rows().items()}


def of_kind(kind: type[Operator]) -> dict[str, type[Operator]]:
    """Return the operators of one kind, by name."""
    return {name: operator for name, operator in operators().items() if issubclass(operator, kind)}


def name_of(operator: Operator) -> str:
    """Return the name that recipes use for an operator."""
    return next(name for name, cls in operators().items() if cls is type(operator))


def executor_of(rule: Rule) -> str | None:
    """Return the `module:NAME` of a rule's executor, as its row has it; None where it has none, or no row."""
    return next((row.executor for row in rows().values() if row.operator is type(rule)), None)


@functools.cache
def _plugins() -> dict[str, Row]:
    """Return the rows that installed packages add."""
    from importlib.metadata import entry_points

    added: dict[str, Row] = {}
    for point in sorted(entry_points(group=PLUGINS), key=lambda point: point.name):
        package = "a package" if point.dist is None else point.dist.name
        where = f"the operator {point.name} of {package} ({point.value})"
        if point.name in OPERATORS or point.name in added:
            raise RecipeError(f"{where} has the name of another; uninstall one of the two")
        try:
            plugin = point.load()
        except Exception as error:
            message = f"{where} cannot be loaded: {type(error).__name__}: {error}; fix the package or uninstall it"
            raise RecipeError(message) from error
        row = plugin if isinstance(plugin, Row) else Row(plugin)
        if not (isinstance(row.operator, type) and issubclass(row.operator, (Transform, Measure, Rule))):
            raise RecipeError(f"{where} is no Transform, Measure or Rule, and no Row of one")
        added[point.name] = row
    return added
