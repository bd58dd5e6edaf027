"""The lists of URLs by Python's sets, regular expressions and string methods: what `url_lists` is compared with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CLASSIFIED = 0x40000  # above are tags and private use
_SPACES = "".join(map(chr, range(33)))
_URL = re.compile(
    r"(?:(?:[A-Za-z0-9+.-]+:)?//)?(?P<authority>[^/?#]*)(?P<rest>.*)",
    re.DOTALL,
)


def lowered(text: str, limit: int = 0x10000) -> str:
    """A text in lower case, characters whose lower case is several left as they are."""
    return "".join(c.lower() if ord(c) < limit and len(c.lower()) == 1 else c for c in text)


def parts(url: str) -> tuple[str, str]:
    """The host of a URL and what follows it, both as they are compared."""
    match = _URL.fullmatch(url.strip(_SPACES))
    assert match is not None
    address = match["authority"].rpartition("@")[2]
    if address.startswith("["):
        host, bracket, port = address.partition("]")
        host += bracket
    else:
        host, colon, port = address.partition(":")
        port = colon + port
    rest = port + match["rest"]
    return ascii_host(host.strip(".")), rest.removesuffix("/")


def ascii_host(host: str) -> str:
    try:
        spelt = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        spelt = host
    if not host.isascii() and any(c <= " " or c in "/?#@:[]" for c in spelt):
        spelt = host
    return lowered(spelt.strip("."), 0x80)  # a full stop may be a wide one


def url_key(url: str) -> str:
    """What a URL is compared by."""
    host, rest = parts(url)
    return (host[4:] if host.startswith("www.") and len(host) > 4 else host) + rest


def words_of(url: str) -> list[str]:
    """The words of a URL: runs of what is no white space, no punctuation, no symbol and no control character."""
    kinds = ("Z", "P", "S", "Cc")
    cut = "".join(" " if unicodedata.category(c).startswith(kinds) and ord(c) < CLASSIFIED else c for c in url)
    return [lowered(word) for word in cut.split(" ") if word]


def entries(text: str) -> list[str]:
    """The entries of a list."""
    lines = (line.strip(_SPACES) for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


class Oracle:
    """The lists, and the entry of the first that takes a URL."""

    def __init__(self, lists: dict[str, str], soft_limit: int) -> None:
        listed = {name: entries(text) for name, text in lists.items()}
        self.domains = {ascii_host(domain.strip(".")) for domain in listed.get("domains", ())}
        self.urls = {url_key(url) for url in listed.get("urls", ())}
        self.words, self.soft_words, self.subwords = (
            _squeezed(listed.get(name, ())) for name in ("words", "soft_words", "subwords")
        )
        self.soft_limit = soft_limit

    def look_up(self, url: str | None) -> tuple[str | None, str | None]:
        """The values of `url_listed` and `url_match`."""
        if url is None:
            return None, None
        host, _ = parts(url)
        labels = host.split(".")
        above = [".".join(labels[i:]) for i in range(len(labels))] if len(host.encode()) <= 253 else []
        if (domain := next((name for name in above if name in self.domains), None)) is not None:
            return "domain", domain
        if url_key(url) and url_key(url) in self.urls:
            return "url", url_key(url)
        words = words_of(url)
        if (word := next((word for word in words if word in self.words), None)) is not None:
            return "word", word
        soft = [word for word in dict.fromkeys(words) if word in self.soft_words]
        if len(soft) >= self.soft_limit:
            return "soft_words", ", ".join(soft)
        squeezed = "".join(words)
        places = [(squeezed.find(part), len(part), part) for part in self.subwords if part in squeezed]
        return ("subword", min(places)[2]) if places else (None, None)


def _squeezed(listed: Iterable[str]) -> set[str]:
    return {"".join(words_of(entry)) for entry in listed} - {""}
