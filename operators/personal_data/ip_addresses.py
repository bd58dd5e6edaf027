"""Addresses of the Internet Protocol that lead to somebody: public ones, of version 4 and 6.

Whether an address is public is `ipaddress.is_global` (the registries of special addresses of the IANA), without
multicast and the ranges for documentation. Four numbers with full stops are a version or a section more often than
an address: they are none where a word before them says so, and where all are small only if a word or a sign before them
says that they are an address.
"""

from __future__ import annotations

import ipaddress
import re

from gristmill.operators.personal_data.occurrences import Occurrence, before

_OCTET = rb"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_SHORT = re.compile(rb"(?:" + _OCTET + rb"\.){3}" + _OCTET + rb"(?![\w]|[.]\w|-[A-Za-z])")
_LONG = re.compile(rb"[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:]|\.\d)")
#: For protocols, 6to4 and documentation (RFC 6890, 7526, 9637): Python's versions do not agree about them.
_SPECIAL = [ipaddress.ip_network(block) for block in ("192.0.0.0/24", "2001::/23", "2002::/16", "3fff::/20")]

#: Signs before four numbers that are no address: of a longer number, a name, a path, a bound on versions.
_CONTINUED = re.compile(rb"[\w.+$#-]\Z|(?<!/)/\Z|[=<>~!^]=\Z|~>\s?\Z|\xc2\xa7\s?\Z")
_CONTINUED_LONG = re.compile(rb"[\w.:-]\Z")
_VERSION = re.compile(
    rb"(?i)(?:\b|_)(?:v|ver|vers|versions?|releases?|rel|builds?|rev|revisions?|firmware|drivers?|kernel|sections?|chapters?)"
    rb"\b[^\n]{0,24}\Z"
)
_ADDRESS = re.compile(
    rb"(?i)\b(?:ip|ipv4|address(?:es)?|addr|hosts?|servers?|dns|nameservers?|gateway|router|ping|telnet|proxy)\b"
)
_PORT = re.compile(rb":\d{2,5}\b")
_SMALL = 64  #: all four numbers below it: four addresses in a thousand, most versions
_NEAR = 40


def find_ip(text: bytes, position: int) -> Occurrence | None:
    """Return the public address that begins at a byte of the text, if there is one."""
    match = _LONG.match(text, position)
    if match is not None:
        return None if _CONTINUED_LONG.search(text[max(0, position - 1) : position]) else _occurrence(match)
    match = _SHORT.match(text, position)
    if match is None or _CONTINUED.search(text[max(0, position - 3) : position]):
        return None
    line = before(text, position, _NEAR)
    if _VERSION.search(line):
        return None
    if all(int(number) < _SMALL for number in match[0].split(b".")) and not _says_address(text, match, line):
        return None
    return _occurrence(match)


def _says_address(text: bytes, match: re.Match[bytes], line: bytes) -> bool:
    """Return whether what surrounds four numbers says that they are an address: a word, `//`, `@`, a port."""
    return line.endswith((b"//", b"@")) or bool(_PORT.match(text, match.end()) or _ADDRESS.search(line))


def _occurrence(match: re.Match[bytes]) -> Occurrence | None:
    try:
        address = ipaddress.ip_address(match[0].decode())
    except ValueError:
        return None
    if not address.is_global or address.is_multicast or any(address in block for block in _SPECIAL):
        return None
    if address.version == 6 and len(match[0].strip(b":").split(b":")) < 2:  # 2024:: is the end of a sentence in reST
        return None
    return Occurrence(match.start(), match.end(), "ip", str(address).encode())
