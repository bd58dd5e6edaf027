"""IP addresses against Python's `ipaddress`."""

from __future__ import annotations

import ipaddress

from hypothesis import example, given
from hypothesis import strategies as st

from gristmill.operators.personal_data.ip_addresses import find_ip

#: Those that Python's versions do not agree about: never taken for public here.
DISPUTED = [ipaddress.ip_network(block) for block in ("192.0.0.0/24", "2001::/23", "2002::/16", "3fff::/20")]
UNICAST = ipaddress.ip_network("2000::/3")  # all that IANA has given out

octets = st.lists(st.integers(0, 299), min_size=4, max_size=4).map(lambda numbers: ".".join(map(str, numbers)))
short = st.ip_addresses(v=4).map(str) | octets
long = st.ip_addresses(v=6, network="2000::/3") | st.ip_addresses(v=6)


def is_public(written: str) -> bool:
    try:
        address = ipaddress.ip_address(written)
    except ValueError:
        return False
    disputed = any(address in block for block in DISPUTED)
    known = address.version == 4 or address in UNICAST
    return address.is_global and not address.is_multicast and known and not disputed


@given(short)
@example("192.88.99.1")
@example("224.0.0.1")
@example("198.18.0.1")
@example("0.0.0.0")
@example("255.255.255.255")
def test_what_is_public(written: str) -> None:
    occurrence = find_ip(f"address {written} here".encode(), len("address "))
    assert (occurrence is not None) == is_public(written)
    assert occurrence is None or occurrence.value == written.encode()


@given(long, st.booleans(), st.booleans())
def test_the_same_of_long_ones(address: ipaddress.IPv6Address, exploded: bool, upper: bool) -> None:
    written = address.exploded if exploded else address.compressed
    written = written.upper() if upper else written
    occurrence = find_ip(f"at {written}, here".encode(), len("at "))
    groups = written.strip(":").split(":")
    assert (occurrence is not None) == (is_public(written) and len(groups) > 1)
    assert occurrence is None or occurrence.value == address.compressed.encode()


def test_small_numbers_need_a_word_or_a_sign() -> None:
    for before in ("", "see ", "- "):
        assert find_ip(f"{before}8.8.4.4 x".encode(), len(before)) is None
    for before in ("IP ", "http://", "root@", "ping ", "Server: ", "address "):
        assert find_ip(f"{before}8.8.4.4 x".encode(), len(before)) is not None
    assert find_ip(b"8.8.4.4:53", 0) is not None
    assert find_ip(b"88.8.4.4 x", 0) is not None


def test_a_word_of_the_line_before_does_not_count() -> None:
    assert find_ip(b"version\n93.184.216.34", 8) is not None
    assert find_ip(b"version 93.184.216.34", 8) is None
