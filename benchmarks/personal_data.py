"""Personal data: speed of `pii` and `mask_pii`, and how well they find addresses, beside the patterns of others.

    python -m benchmarks.personal_data

The patterns of datatrove's `PIIFormatter` and of Dolma's tagger `pii_regex_with_counts_fast_v2` are stated here again
from what their sources describe, with the tests that these make of a match, and run by Python's `re` (Dolma uses `re2`
where it is installed). Speed is that of counting, on texts of the benchmark corpus in which nothing is found, and on
posts of Usenet, all of which have addresses. Fields of these posts say which addresses there are, and which ids of
messages only look like one (`tests/operators/personal_data/usenet.py`):

- found: addresses of senders that lie in a match; to the byte: those that a match spells, nothing more or less;
- ids taken: ids of messages that overlap a match;
- precision: of the matches that overlap an address or an id, those of addresses. Of others nobody says what they are.

Examples are written by hand (`tests/operators/personal_data/examples.py`), for these operators: those of each kind that
are found, and those taken that are none.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from benchmarks.common import bench_texts, median_seconds, print_table, size_of
from benchmarks.corpus import DATA
from gristmill.operators.measures.pii import Pii
from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.personal_data.occurrences import KINDS, Kind
from gristmill.operators.transforms.mask_pii import MaskPii
from tests.operators.personal_data import usenet
from tests.operators.personal_data.examples import NOT_THERE, THERE
from tests.operators.personal_data.usenet import Span

#: What is matched of a text, and the value in it.
Match = tuple[Span, Span]
Search = Callable[[str], Iterator[Match]]

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?)"
_FOUR_OCTETS = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}")
#: datatrove: RFC 5322 in small letters; addresses at [1.2.3.4] are left out here.
_DATATROVE_EMAIL = re.compile(rf"\b{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
#: Dolma: what is no white space, @, the least that ends at a sign and white space; three, three and four digits.
_DOLMA_EMAIL = re.compile(r"[.\s@,?!;:)(]*([^\s@]+@[^\s@,?!;:)(]+?)[.\s@,?!;:)(]?[\s\n\r]")
_DOLMA_PHONE = re.compile(r"\s+\(?(\d{3})\)?[-. ]*(\d{3})[-. ]?(\d{4})")

#: Texts that are made to be slow: repeated without end.
HOSTILE = ("1 ", "12 34 ", "a@a.", "<a@b.co>", "AB12 ", "+1", "1.1.1.1 ", "eyJ", "-----BEGIN PRIVATE KEY-----\n")


def datatrove_email(text: str) -> Iterator[Match]:
    """Addresses as datatrove has them."""
    yield from ((match.span(), match.span()) for match in _DATATROVE_EMAIL.finditer(text))


def datatrove_ip(text: str) -> Iterator[Match]:
    """Public IP addresses as datatrove has them."""
    for match in _FOUR_OCTETS.finditer(text):
        try:
            public = ipaddress.ip_address(match[0]).is_global
        except ValueError:
            continue
        if public:
            yield match.span(), match.span()


def dolma_email(text: str) -> Iterator[Match]:
    """Addresses as Dolma has them."""
    if "@" in text:
        for match in _DOLMA_EMAIL.finditer(text):
            name, domain = match[1].split("@", 1)
            if name.strip() != "(" and "." in domain:
                yield match.span(), match.span(1)


def dolma_ip(text: str) -> Iterator[Match]:
    """Any IP addresses, as Dolma has them."""
    yield from ((match.span(), match.span()) for match in _FOUR_OCTETS.finditer(text))


def dolma_phone(text: str) -> Iterator[Match]:
    """Telephone numbers as Dolma has them."""
    yield from ((match.span(), (match.start(1), match.end(3))) for match in _DOLMA_PHONE.finditer(text))


PEERS: dict[str, dict[Kind, Search]] = {
    "datatrove": {"email": datatrove_email, "ip": datatrove_ip},
    "Dolma": {"email": dolma_email, "ip": dolma_ip, "phone": dolma_phone},
}
OURS = "gristmill"


def matches_of(name: str, kind: Kind, texts: list[str]) -> list[list[Match]]:
    """The matches of a kind in each of the texts: ours by bytes, the others' by characters."""
    if name != OURS:
        return [list(PEERS[name][kind](text)) for text in texts]
    matches: list[list[Match]] = [[] for _ in texts]
    for position, _, occurrences in Finder([kind], ["US"]).occurrences(pa.array(texts, pa.large_string())):
        matches[position] = [((f.start, f.end), (f.start, f.end)) for f in occurrences]
    return matches


def print_speed(texts: dict[str, pa.LargeStringArray], runs: int) -> None:
    """Print MB/s of each, on each of the texts."""

    def rate(call: Callable[[pa.LargeStringArray], object]) -> list[float]:
        return [size_of(t) / 1e6 / median_seconds(lambda t=t: call(t), runs) for t in texts.values()]

    def peer(searches: dict[Kind, Search]) -> list[float]:
        strings = {id(array): array.to_pylist() for array in texts.values()}
        return rate(lambda array: [sum(1 for _ in s(text)) for text in strings[id(array)] for s in searches.values()])

    rows: list[list[object]] = []
    for kinds in (("email", "ip"), ("email", "ip", "phone"), KINDS):
        function = Pii(kinds=kinds).open({})
        label = "all six kinds" if kinds == KINDS else ", ".join(kinds)
        rows.append([f"pii: {label}", *rate(lambda array, f=function: f(pa.record_batch({"text": array})))])
    rows.append(["mask_pii: email, ip", *rate(MaskPii().open({}))])
    rows += [[f"{name}: {', '.join(searches)}", *peer(searches)] for name, searches in PEERS.items()]
    print_table(["MB/s per core", *texts], rows)


def print_emails(posts: list[str]) -> None:
    """Print what share of the addresses is found, and how many ids of messages are taken for one."""
    data = [post.encode() for post in posts]
    ids = usenet.message_ids(data)
    gold = [list(usenet.addresses(post)) for post in data]
    negatives = [list(usenet.id_spans(post, ids)) for post in data]
    rows = []
    for name in (OURS, *PEERS):
        matches = matches_of(name, "email", posts)
        inside = sum(any(within(a, m) for m, _ in ms) for g, ms in zip(gold, matches, strict=True) for a in g)
        exact = sum(any(a == value for _, value in ms) for g, ms in zip(gold, matches, strict=True) for a in g)
        taken = sum(any(overlap(n, v) for _, v in ms) for ns, ms in zip(negatives, matches, strict=True) for n in ns)
        right = sum(any(overlap(v, a) for a in g) for g, ms in zip(gold, matches, strict=True) for _, v in ms)
        wrong = sum(any(overlap(v, n) for n in ns) for ns, ms in zip(negatives, matches, strict=True) for _, v in ms)
        addresses, others = sum(map(len, gold)), sum(map(len, negatives))
        shares = (inside / addresses, exact / addresses, taken / others, right / (right + wrong))
        rows.append([name, *(f"{share:.2%}" for share in shares)])
    print(f"{sum(map(len, gold)):,} addresses of senders, {sum(map(len, negatives)):,} ids of messages\n")
    print_table(["e-mail", "found", "to the byte", "ids taken", "precision"], rows)


def print_examples() -> None:
    """Print how many of the examples each finds, and takes that are none."""
    rows = []
    for kind in KINDS:
        there = [(text, part) for k, text, part in THERE if k == kind]
        not_there = [text for k, text in NOT_THERE if k == kind]
        for name in (OURS, *(peer for peer, searches in PEERS.items() if kind in searches)):
            found = sum(is_found(name, kind, text, part) for text, part in there)
            taken = sum(matches_of(name, kind, [f"\n{text}\n"]) != [[]] for text in not_there)
            rows.append([kind, name, f"{found} of {len(there)}", f"{taken} of {len(not_there)}"])
    print_table(["examples", "", "found", "taken that are none"], rows)


def is_found(name: str, kind: Kind, text: str, part: str) -> bool:
    """Whether a part of a text, on a line of its own, lies in a match."""
    line = f"\n{text}\n"
    start = line.index(part)
    span = (start, start + len(part))
    if name == OURS:
        span = (len(line[: span[0]].encode()), len(line[: span[1]].encode()))
    return any(within(span, match) for match, _ in matches_of(name, kind, [line])[0])


def within(inner: Span, outer: Span) -> bool:
    """Whether one span lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def overlap(one: Span, other: Span) -> bool:
    """Whether two spans have a byte in common."""
    return one[0] < other[1] and other[0] < one[1]


def print_hostile() -> None:
    """Print how long texts take that are made to be slow: four times the text, four times as long."""
    finder, rows = Finder(KINDS, ["US", "DE"]), []
    for piece in HOSTILE:
        seconds = []
        for size in (50_000, 200_000):
            texts = pa.array([piece * (size // len(piece))], pa.large_string())
            start = time.thread_time()
            for _ in finder.occurrences(texts):
                pass
            seconds.append(time.thread_time() - start)
        rows.append([repr(piece), *seconds, seconds[1] / seconds[0]])
    print_table(["nothing but", "s for 50 kB", "s for 200 kB", "times as long"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=16, help="how much of each corpus to use")
    parser.add_argument("--runs", type=int, default=5, help="the median of so many runs is shown")
    arguments = parser.parse_args()

    texts = bench_texts(arguments.megabytes)
    positions = {position for position, *_ in Finder(KINDS, ["US"]).occurrences(texts)}
    without = texts.take(pa.array([k for k in range(len(texts)) if k not in positions]))
    posts = [post.decode() for post in usenet.posts(DATA) if post.isascii()]
    some = pa.array(posts[: int(len(posts) * min(1, arguments.megabytes / 16))], pa.large_string())
    occurrences = sum(len(found) for _, _, found in Finder(KINDS, ["US"]).occurrences(some))
    with_some = f"posts, {occurrences / (size_of(some) / 1e3):.1f} occurrences in a kB"
    print_speed({"nothing to be found": without, with_some: some}, arguments.runs)
    for show in (lambda: print_emails(posts), print_examples, print_hostile):
        print()
        show()


if __name__ == "__main__":
    main()
