"""E-mail addresses, and what is only written like one.

An address is a name of letters, digits and `._%+-!'` (RFC 5322, section 3.2.3, without the signs that separate it from
its surroundings far more often than they belong to it), `@`, and a domain with a full stop whose last label is two
letters or more. Letters with two bytes in UTF-8 are letters as well (RFC 6531): Latin, Greek, Cyrillic ones.
"""

from __future__ import annotations

import re

from gristmill.operators.personal_data.occurrences import Occurrence

_LONGEST_NAME, _LONGEST_DOMAIN = 64, 253  # RFC 5321, section 4.5.3.1; RFC 1035, section 2.3.4

_WIDE = rb"[\xc3-\xd4][\x80-\xbf]"
_LETTER = rb"(?:[A-Za-z]|" + _WIDE + rb")"
_WORD = rb"(?:[A-Za-z0-9_]|" + _WIDE + rb")"
_SIGN = rb"(?:[A-Za-z0-9_%+!'-]|" + _WIDE + rb")"
_NAME = re.compile(_WORD + _SIGN + rb"*(?:\." + _SIGN + rb"+)*\Z")
_RUN = re.compile(rb"[A-Za-z0-9_%+!'.\x80-\xd4-]*")
_LABEL = _WORD + rb"(?:(?:" + _WORD + rb"|-){0,61}" + _WORD + rb")?"
_TOP = rb"(?:(?i:xn--)[A-Za-z0-9-]+|" + _LETTER + rb"{2,63})"
_DOMAIN = re.compile(rb"(?:" + _LABEL + rb"\.)+" + _TOP + rb"(?![A-Za-z0-9@]|[_-]\w|" + _WIDE + rb")")

#: Domains that belong to nobody (RFC 2606, RFC 6761): addresses there are examples, or masked by others.
_RESERVED = re.compile(rb"(?:\A|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)\Z")
#: Files, versions of packages, products of matrices: logo@2x.png, left-pad@1.3.0-beta.next, x@self.weight.
_CODE = re.compile(rb"\A(?:\d+(?:x\.|\.\d)|self\.)|\.(?:png|jpe?g|gif|svg|webp|css|js|html?|php|xml|json|pdf|txt)\Z")
#: Domains before a bracket: others are more often functions that are called on the product of two matrices.
_BEFORE_BRACKET = re.compile(rb"\.(?:[a-z]{2}|com|edu|org|net|gov|mil|int|info)\Z")
_UP_TO_PATH, _LONGEST_USER = re.compile(rb"[^\s/?#]*"), 256
_PATH = re.compile(rb"/\w|:(?:[~/]|[\w.-]+/)")  # after an address: it was part of a path, or is one of ssh
_OTHER_ADDRESS, _ADDRESS_BEFORE = re.compile(rb"/[\w.+-]+@"), re.compile(rb"@[\w.-]+/\Z")

# Ids of messages (RFC 5322, section 3.6.4) are written like addresses, between angle brackets, %3C and %3E in a URL.
_IN_BRACKETS = re.compile(rb"(?:<|%3[Cc])(?:mailto:)?([^\s<>@]{1,200})\Z")
#: Before an id: a word that cites a message, or a field of ids and others of its ids.
_CITED = re.compile(rb"(?i)\b(?:articles?|messages?|msg)\s*\Z")
_FIELDS = (b"message-id:", b"references:", b"in-reply-to:", b"supersedes:", b"content-id:")
_OTHER_IDS, _LONGEST_FIELD = re.compile(rb"(?:\s*<[^\s<>]*>)*\s*"), 1000
_NUMBERED = re.compile(
    rb"(?i)\d(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\d"  # dates, as in 1993Apr15.214421.1
    rb"|\A(?:\d{3,}\.|\d{9}|(?=\D*\d)[0-9a-f]{8}(?:\.|\Z))|\d{12}"  # times and counters
    rb"|[._-]\d{9,}(?:[._-]|\Z)|\.\d+\.\d+\Z"
    rb"|(?-i:\AC\d[0-9A-Za-z]{4}\.[0-9A-Za-z]{1,3}\b)"  # C News: seconds in base 62
    rb"|[$=]"  # no mailbox has them
)
_PARTS = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+|\d+")
_PIECES = re.compile(rb"[A-Za-z0-9]+")
#: Providers whose mailboxes are numbers.
_NUMBERED_MAILBOXES = re.compile(rb"(?:\A|\.)(?:qq|163|126|139|189|compuserve)\.(?:com|cn)\Z")


def find_email(text: bytes, at: int) -> Occurrence | None:
    """Return the address whose `@` stands at a byte of the text, if it is one."""
    domain = _DOMAIN.match(text, at + 1, at + 2 * _LONGEST_DOMAIN)
    if domain is None or domain.end() - at > _LONGEST_DOMAIN + 1:
        return None
    run = _RUN.match(text[max(0, at - _LONGEST_NAME - 2) : at][::-1])  # backwards: no further than the name goes
    name = _NAME.search(text, at - run.end(), at) if run else None
    if name is None:
        return None
    start, end, host = name.start(), domain.end(), domain[0].lower()
    sign, after = text[start - 1 : start], text[end : end + 1]
    if sign == b"%":  # of an escape in a URL (%20), or of a format (%s@%s)
        start += 2
        if re.fullmatch(rb"[0-9A-Fa-f]{2}", text[start - 2 : start]) is None or start >= at:
            return None
    if at - start > _LONGEST_NAME or sign in (b"@", b"$"):
        return None
    if _RESERVED.search(host) or _CODE.search(host) or (after == b"(" and not _BEFORE_BRACKET.search(host)):
        return None
    if _is_in_path(text, start, end, sign, after) or _is_user_of_url(text, start):
        return None
    if after in (b">", b"%") and _is_message_id(text, at, host):
        return None
    return Occurrence(start, end, "email", text[start:at].lower() + b"@" + host)


def _is_in_path(text: bytes, start: int, end: int, sign: bytes, after: bytes) -> bool:
    """Return whether an address is a step of a path: .../python-ideas@python.org/thread/, git@github.com:a/b."""
    if sign == b"/" and not _ADDRESS_BEFORE.search(text, max(0, start - 100), start):
        return True
    return after in (b"/", b":") and bool(_PATH.match(text, end)) and not _OTHER_ADDRESS.match(text, end)


def _is_user_of_url(text: bytes, start: int) -> bool:
    """Return whether a name is the user or the password in a URL: https://user:password@host.org."""
    scheme = text.rfind(b"://", max(0, start - _LONGEST_USER), start)
    return scheme >= 0 and _UP_TO_PATH.fullmatch(text, scheme + 3, start) is not None


def _is_message_id(text: bytes, at: int, host: bytes) -> bool:
    """Return whether what stands between angle brackets was made by a machine for a message."""
    bracket = _IN_BRACKETS.search(text, max(0, at - 210), at)
    if bracket is None:
        return False
    if _is_cited(text[max(0, bracket.start() - _LONGEST_FIELD) : bracket.start()].lower()):
        return True
    if text.endswith((b'" <', b'"<'), 0, bracket.start() + 1):  # a name in quotes: "J. Doe" <jd4x2b@host.org>
        return False
    name = bracket[1]
    if name.isdigit() or _NUMBERED.search(name):
        return _NUMBERED_MAILBOXES.search(host) is None
    return _is_random(name)


def _is_cited(before: bytes) -> bool:
    """Return whether what stands before a bracket, in small letters, says that the id of a message follows."""
    if _CITED.search(before, max(0, len(before) - 20)):
        return True
    field = max(before.rfind(name) + len(name) * (name in before) for name in _FIELDS)
    return field > 0 and _OTHER_IDS.fullmatch(before, field) is not None


def _is_random(name: bytes) -> bool:
    """Return whether letters and digits, small letters and capitals change more often than in names that people take.

    `C5uBn5.tz`, `1qk708INNa12`; not `JohnSmith42`, `cs20+`, `mary2kids4ever`.
    """
    pieces = _PIECES.findall(name)
    parts = [part for piece in pieces for part in _PARTS.findall(piece)]
    if len(parts) - len(pieces) < 3:
        return False
    return name != name.lower() or sum(map(len, parts)) < 2.5 * len(parts)
