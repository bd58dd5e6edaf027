"""`url_lists` beside an oracle of Python's sets and regular expressions, and the values of URLs that are unusual."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.url_lists import LISTS, UrlLists
from tests.operators.measures.url_oracle import Oracle

LIST_TEXTS = {
    "domains": "# hosts\n\nbad.example\r\n  Sub.Worse.example \n.dots.example.\nbücher.example\n192.0.2.1\n"
    "[2001:db8::1]\n",
    "urls": "https://www.page.example/A/\npage.example/?q=1\nhttp://USER@Ünïcode.example:8080/Ü\n",
    "words": "Casino\nsex-shop\nсекс\n---\n",
    "soft_words": "hot\nteen\nfree\n",
    "subwords": "viagra\nvia\n2cheap\nпорно\n",
}


def measure_of(folder: Path, lists: dict[str, str], soft_limit: int = 2) -> UrlLists:
    paths = {name: folder / f"{name}.txt" for name in lists}
    for name, path in paths.items():
        path.write_text(lists[name], encoding="utf-8", newline="")
    return UrlLists(**{name: str(path) for name, path in paths.items()}, soft_limit=soft_limit)


def files_of(measure: UrlLists) -> dict[str, Path]:
    return {name: Path(path) for name, path in measure.resources().items()}


def look_up(measure: UrlLists, urls: list[str | None]) -> list[tuple[str | None, str | None]]:
    columns = {"text": pa.array(["text"] * len(urls), pa.large_string()), "url": pa.array(urls, pa.string())}
    result = measure.open(files_of(measure))(pa.record_batch(columns))
    return list(zip(result["url_listed"].to_pylist(), result["url_match"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> UrlLists:
    return measure_of(tmp_path_factory.mktemp("lists"), LIST_TEXTS)


EXAMPLES = {
    "http://bad.example/": ("domain", "bad.example"),
    "https://a.b.BAD.example:8080/x?y#z": ("domain", "bad.example"),
    "https://user:secret@bad.example./": ("domain", "bad.example"),
    "bad.example": ("domain", "bad.example"),
    "//bad.example/x": ("domain", "bad.example"),
    " \tbad.example\n": ("domain", "bad.example"),
    "http://notbad.example/": (None, None),
    "http://worse.example/": (None, None),
    "http://x.example/bad.example": (None, None),
    "http://x.example?bad.example/": (None, None),
    "http://bad.example@x.example/": (None, None),
    "http://a.dots.example": ("domain", "dots.example"),
    "http://bücher.example/": ("domain", "xn--bcher-kva.example"),
    "http://XN--BCHER-KVA.example/": ("domain", "xn--bcher-kva.example"),
    "http://[2001:db8::1]:80/": ("domain", "[2001:db8::1]"),
    "http://192.0.2.1:80/": ("domain", "192.0.2.1"),
    "http://page.example/A": ("url", "page.example/A"),
    "page.example/A/": ("url", "page.example/A"),
    "http://WWW.page.EXAMPLE/A": ("url", "page.example/A"),
    "http://page.example/a": (None, None),
    "http://page.example/A//": (None, None),
    "http://page.example:80/A": (None, None),
    "http://page.example/A?x": (None, None),
    "https://page.example/?q=1": ("url", "page.example/?q=1"),
    "http://xn--ncode-cta3g.example:8080/Ü": ("url", "xn--ncode-cta3g.example:8080/Ü"),
    "http://x.example/my-CASINO/": ("word", "casino"),
    "http://x.example/casinos": (None, None),
    "http://x.example/sexshop": ("word", "sexshop"),
    "http://x.example/sex-shop": (None, None),
    "http://x.example/СЕКС": ("word", "секс"),
    "http://x.example/hot/hot/HOT": (None, None),
    "http://x.example/teen/x/hot?teen": ("soft_words", "teen, hot"),
    "http://x.example/v-i-a": ("subword", "via"),
    "http://x.example/2.cheap": ("subword", "2cheap"),
    "http://порно.example/": ("subword", "порно"),
    "bücher.examplehttps://[2001:db8::1]": (None, None),  # no scheme: it has a letter that none has
    "\u2000[2001:db8::1]": (None, None),  # a space that is wider, where no name has one
    "\u2000bad.example": (None, None),
    "\u200b[2001:db8::1]": (None, None),  # a character that vanishes
    "bad.example\uff0fx": (None, None),  # a slash that is wider
    "x\uff20bad.example": (None, None),
    "bad.example\u3000": (None, None),
    " .bücher.example://[2001:db8::1]": ("domain", "xn--bcher-kva.example"),
    "": (None, None),
    " ": (None, None),
    "http://": (None, None),
    "/": (None, None),
}


@pytest.mark.parametrize("url", EXAMPLES)
def test_examples(measure: UrlLists, url: str) -> None:
    assert look_up(measure, [url]) == [EXAMPLES[url]]
    assert Oracle(LIST_TEXTS, 2).look_up(url) == EXAMPLES[url]


#: Pieces of URLs that are in the lists or nearly so, put together in any order.
PIECES = st.sampled_from(
    [
        "http:", "https://", "//", "/", "www.", "WWW.", "bad.example", "Worse.example", "sub.", ".", "..",
        "dots.example", "bücher.example", "xn--bcher-kva.example", "page.example", "/A", "/A/", "?q=1", "?", "#", "@",
        ":", ":8080", "[", "]", "[2001:db8::1]", "192.0.2.1", "ünïcode.example", "Ünïcode.example", "casino", "CASINO",
        "sexshop", "hot", "Teen", "-", "%20", "viagr", "a", "via", "2", "cheap", "порно", "СЕКС", " ", "\n", "\x00",
        "İ", "ß", "\u0301", "\u200d", "\ufffd", "𝐡ot", "user:pass@",
        "\u2000", "\u200b", "\u3002", "\uff0f", "\uff20", "\uff1a", "\uff3b", "\uff1f", "℀",
    ]
)  # fmt: skip
URLS = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20)
LINES = st.lists(URLS | st.just("# note"), max_size=6).map("\n".join)


@settings(max_examples=600, deadline=None)
@given(urls=st.lists(st.none() | URLS, max_size=8))
def test_any_url_is_looked_up_as_by_sets(measure: UrlLists, urls: list[str | None]) -> None:
    oracle = Oracle(LIST_TEXTS, 2)
    assert look_up(measure, urls) == [oracle.look_up(url) for url in urls]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.fixed_dictionaries({}, optional=dict.fromkeys(LISTS, LINES)), limit=st.integers(1, 3), data=st.data())
def test_any_lists_are_read_as_by_sets(tmp_path: Path, lists: dict[str, str], limit: int, data: st.DataObject) -> None:
    if not lists:
        return
    measure, oracle = measure_of(tmp_path, lists, limit), Oracle(lists, limit)
    lines = [line for text in lists.values() for line in text.split("\n")]
    urls = data.draw(st.lists(st.sampled_from(lines) | URLS, max_size=6))
    oracle.domains = {domain for domain in oracle.domains if may_be_host(domain)}
    assert look_up(measure, urls) == [oracle.look_up(url) for url in urls]


def may_be_host(domain: str) -> bool:
    allowed = {*"abcdefghijklmnopqrstuvwxyz0123456789.-_[]", *(":" if domain.startswith("[") else "")}
    return bool(domain) and all(c in allowed or ord(c) > 0x7F for c in domain)


def test_a_long_host_is_none_and_takes_no_time(measure: UrlLists) -> None:
    assert look_up(measure, ["a." * 2_000_000 + "bad.example"]) == [(None, None)]


def test_documents_without_urls_have_nulls(measure: UrlLists) -> None:
    result = measure.open(files_of(measure))(pa.record_batch({"text": pa.array(["a", None], pa.large_string())}))
    assert result.to_pydict() == {"url_listed": [None, None], "url_match": [None, None]}


def test_a_mark_at_the_start_is_no_part_of_an_entry(tmp_path: Path) -> None:
    measure = measure_of(tmp_path, {"domains": "\ufeffbad.example\n"})
    assert look_up(measure, ["http://bad.example"]) == [("domain", "bad.example")]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_without_entries_is_refused(tmp_path: Path, name: str) -> None:
    for text in ("", "# only\n\n# comments\n"):
        measure = measure_of(tmp_path, {name: text})
        with pytest.raises(RecipeError, match=f"has no entries; leave {name} out"):
            measure.check(files_of(measure))


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    measure = measure_of(tmp_path, {"domains": ""})
    (tmp_path / "domains.txt").write_bytes(b"\x1f\x8b\x08\x00 gzip")
    with pytest.raises(RecipeError, match="is not text in UTF-8"):
        measure.check(files_of(measure))


def test_a_list_in_another_form_is_refused_and_single_lines_are_left_out(tmp_path: Path) -> None:
    hosts = "# hosts\n0.0.0.0 bad.example\n0.0.0.0 worse.example\ngood.example\n"
    measure = measure_of(tmp_path, {"domains": hosts})
    with pytest.raises(RecipeError, match=r"no list of domains, one a line: line 2 is '0\.0\.0\.0 bad\.example'"):
        measure.check(files_of(measure))
    measure = measure_of(tmp_path, {"domains": "a b\nbad.example\n"})
    measure.check(files_of(measure))
    assert look_up(measure, ["http://bad.example"]) == [("domain", "bad.example")]


def test_a_list_is_needed() -> None:
    with pytest.raises(ValueError, match="name at least one list: domains, urls, words, soft_words, subwords"):
        UrlLists()
