"""The rule `url_rules`: pages whose URL is in a list, as RefinedWeb and FineWeb drop them."""

from __future__ import annotations

from gristmill.operators.base import Rule
from gristmill.operators.measures.url_lists import LISTED, LISTS, UrlLists, UrlOptions


class UrlRules(UrlOptions, Rule):
    """Drops documents whose URL is in a list: of domains, of URLs, of words, of soft words, of parts of words.

    `url_rules: {domains: lists/domains.txt, words: lists/words.txt}`, at least one list. The measure `url_lists` comes
    by itself and says what each list means; the funnel tells which list took how many, the column `url_match` which
    entry took a document. Documents without a URL stay.

    Penedo et al. 2023, "The RefinedWeb Dataset" (arXiv:2306.01116), section 3.1 and appendix G.1.
    """

    def when(self) -> str:
        """Return the DuckDB expression that drops a document where it is true: a condition for each list."""
        return " or ".join(f"{LISTED} = '{LISTS[name]}'" for name in self.resources())

    def reads(self) -> set[str]:
        """Return the column that names the list."""
        return {LISTED}

    def needs(self) -> tuple[UrlLists, ...]:
        """Return the measure that looks the URLs up."""
        return (UrlLists(**self.resources(), soft_limit=self.soft_limit),)
