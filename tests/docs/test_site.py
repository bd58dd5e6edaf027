"""The site that is built: it asks no other host for anything, its links hold, its reference has all that there is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import typer

from docs.site import build
from gristmill.operators.table import OPERATORS
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.report.catalogue import describe
from tests.docs.blocks import ROOT

#: Attributes whose address a browser fetches by itself, and those of links that are only followed.
FETCHED = {"src", "srcset", "data", "poster", "background", "action", "formaction", "ping"}
FOLLOWED = {"canonical", "next", "prev"}


@dataclass
class Html(HTMLParser):
    """What a page fetches, where it leads, and the names of its places."""

    fetched: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[name] for name in ("id", "name") if name in given}
        self.fetched += [value for name, value in given.items() if name in FETCHED]
        if tag == "link" and given.get("rel") not in FOLLOWED:
            self.fetched.append(given["href"])
        if tag == "a" and "href" in given:
            self.followed.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    build.main(folder)
    return folder / "site"


@pytest.fixture(scope="module")
def parsed(site: Path) -> dict[Path, Html]:
    """All its pages."""
    read = {}
    for path in site.rglob("*.html"):
        read[path] = Html()
        read[path].feed(path.read_text())
    return read


def test_no_page_asks_another_host(site: Path, parsed: dict[Path, Html]) -> None:
    assert len(parsed) > 40
    for path, page in parsed.items():
        assert not [address for address in page.fetched if re.match(r"(\w+:)?//", address)], path
        for address in page.fetched:
            assert path.name == "404.html" or (path.parent / address.partition("?")[0]).is_file(), (path, address)
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:\w+:)?//", sheet.read_text()), sheet


def test_links_and_their_anchors_hold(site: Path, parsed: dict[Path, Html]) -> None:
    """What strict building is trusted with, looked at once more in what was built."""
    for path, page in parsed.items():
        for link in page.followed:
            if re.match(r"\w+:", link) or path.name == "404.html":
                continue
            file, _, place = unquote(link).partition("#")
            target = (path.parent / file).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            assert target in parsed, f"{path.relative_to(site)}: {link}"
            assert not place or place in parsed[target].places, f"{path.relative_to(site)}: {link}"


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = dict(build.written_pages())
    written["README.md"] += "\n[nowhere](docs/store.md#no-such-place)\n"
    monkeypatch.setattr(build, "written_pages", written.items)
    with pytest.raises(SystemExit, match="anchor does not exist"):
        build.main(tmp_path)


def test_every_page_is_in_the_navigation() -> None:
    contents = (ROOT / "docs" / "README.md").read_text()
    listed = json.dumps(build.navigation(contents))
    for path, _ in build.written_pages():
        assert f'"{build.place_of(path)}"' in listed, f"docs/README.md does not list {path}"


def test_the_reference_has_all_operators_and_commands() -> None:
    pages = {place: page.make() for place, page in build.reference.PAGES.items()}
    catalogue = "".join(pages[f"reference/{kind}.md"] for kind in ("transforms", "measures", "rules"))
    for name in OPERATORS:
        section = re.search(rf"^## {name}$(.*?)(?=^## |\Z)", catalogue, re.MULTILINE | re.DOTALL)
        assert section, name
        for told in (*describe(name)["fields"], *describe(name)["columns"]):
            assert f"| `{told['name']}` |" in section[1], (name, told)

    def check(group: object, prefix: str) -> None:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            assert f"# {prefix} {name}\n" in pages["reference/commands.md"]
            if hasattr(command, "commands"):
                check(command, f"{prefix} {name}")

    check(typer.main.get_command(app), "gristmill")
