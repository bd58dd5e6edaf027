"""The encoding of a page: byte order mark, UTF-8 where the bytes are, the declared charset, else a guess.

The order differs from that of browsers (WHATWG Encoding Standard, section 4.2; HTML, section 13.2.3), who believe what
is declared: of 498 real pages 489 are valid UTF-8, and text in another encoding hardly ever is by chance.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from typing import NamedTuple

import pyarrow as pa

_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
#: The part of a page in which a charset may be declared; browsers look at 1,024 bytes.
_DECLARED_WITHIN = 4096
_META = re.compile(rb"<meta[^>]{0,256}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml[^>]{0,256}?encoding\s*=\s*[\"']([A-Za-z0-9_.:-]+)", re.IGNORECASE)
#: A page that says it is UTF-8 is, where at most this share of its bytes begins no character.
_FEW = 0.001
_REPLACEMENT = "\ufffd".encode()
#: Encodings by whose names browsers mean larger ones (Encoding Standard, section 4).
_AS_BROWSERS = {"shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"}


class DecodedPage(NamedTuple):
    """A page as text."""

    content: bytes  #: the text in UTF-8
    encoding: str  #: by which it was decoded
    replaced: float  #: share of its characters that stand for bytes of no meaning (U+FFFD)


def decode_page(body: bytes, declared: str | None) -> DecodedPage:
    """Return a page as text; `declared` is the charset that its HTTP head names."""
    for mark, encoding in _MARKS:
        if body.startswith(mark):
            return _decoded(body[len(mark) :], encoding)
    if _is_utf8(whole := _whole_characters(body)):
        return _page(whole, "utf-8")
    labels = [label for label in (declared, _declared_inside(body)) if label]
    names = [name for label in labels if (name := _encoding(label)) is not None]
    if "utf-8" in names:
        page = _decoded(body, "utf-8")
        if page.replaced <= _FEW:
            return page
    for name in names:
        if name != "utf-8":
            try:
                return _page(body.decode(name).encode(), name)
            except UnicodeDecodeError:
                continue
    return _decoded(body, _guessed(body))


def _decoded(body: bytes, encoding: str) -> DecodedPage:
    return _page(body.decode(encoding, "replace").encode(), encoding)


def _is_utf8(content: bytes) -> bool:
    """Return whether bytes are UTF-8: Arrow looks, which makes no text of them."""
    try:
        pa.array([content], pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _whole_characters(body: bytes) -> bytes:
    """Return a page without the half of a character with which it ends where a crawler cut it off."""
    for length in range(1, min(4, len(body) + 1)):
        if body[-length] >= _FIRST_OF_SEVERAL:
            with contextlib.suppress(UnicodeDecodeError):
                if not codecs.getincrementaldecoder("utf-8")().decode(body[-length:]):
                    return body[:-length]
            break
    return body


_FIRST_OF_SEVERAL = 0xC0  # bytes of a character beyond ASCII: the first is this or more, the others are less


def _page(content: bytes, encoding: str) -> DecodedPage:
    if b"\0" in content:  # HTML has none (section 13.2.3.5), and no later tool takes it
        content = content.replace(b"\0", b"")
    replaced = 0.0
    if _REPLACEMENT[:1] in content:  # one byte is searched for twenty times faster than three
        replaced = content.count(_REPLACEMENT) / max(1, len(content.decode()))
    return DecodedPage(content, encoding, replaced)


def _declared_inside(body: bytes) -> str | None:
    head = body[:_DECLARED_WITHIN]
    match = _META.search(head) or _XML.match(head)
    return match[1].decode("ascii") if match else None


def _encoding(label: str) -> str | None:
    """Return Python's name of the encoding that browsers take for a label; None for a label without a meaning."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    name: str | None = map_encoding_to_html5(label.strip(), fallback_utf8=False)
    return None if name is None else _AS_BROWSERS.get(codecs.lookup(name).name, codecs.lookup(name).name)


def _guessed(body: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    return codecs.lookup(detect_encoding(body) or "utf-8").name
