"""Every operator, by the name that recipes use. A new operator is one file and one line here."""

from __future__ import annotations

from gristmill.operators.base import Measure, Operator, Rule, Transform
from gristmill.operators.measures.gopher import Gopher
from gristmill.operators.measures.importance import Importance
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.measures.paragraph_hashes import ParagraphHashes
from gristmill.operators.measures.quality import Quality
from gristmill.operators.measures.text_hash import TextHash
from gristmill.operators.measures.text_id import TextId
from gristmill.operators.measures.tokens import Tokens
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.operators.rules.gopher_rules import GopherRules
from gristmill.operators.rules.paragraph_dedup import ParagraphDedup
from gristmill.operators.rules.select import Select
from gristmill.operators.transforms.normalize_unicode import NormalizeUnicode

OPERATORS: dict[str, type[Operator]] = {
    "normalize_unicode": NormalizeUnicode,
    "gopher": Gopher,
    "tokens": Tokens,
    "quality": Quality,
    "importance": Importance,
    "text_hash": TextHash,
    "text_id": TextId,
    "minhash": MinHash,
    "paragraph_hashes": ParagraphHashes,
    "drop": Drop,
    "gopher_rules": GopherRules,
    "exact_dedup": ExactDedup,
    "fuzzy_dedup": FuzzyDedup,
    "paragraph_dedup": ParagraphDedup,
    "select": Select,
}

#: The sections of a recipe that list operators, and the kind that each takes.
SECTIONS: dict[str, type[Operator]] = {"transform": Transform, "measure": Measure, "decide": Rule}


def of_kind(kind: type[Operator]) -> dict[str, type[Operator]]:
    """The operators of one kind, by name."""
    return {name: operator for name, operator in OPERATORS.items() if issubclass(operator, kind)}


def name_of(operator: Operator) -> str:
    """The name that recipes use for an operator."""
    return next(name for name, cls in OPERATORS.items() if cls is type(operator))
