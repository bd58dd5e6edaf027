"""Build the site from the pages of the repository: `make docs`, or `python -m docs.site.build`.

Links in pages are those of the repository, so that a code host shows them rightly. Here all pages, those that lie
outside of docs/ and those that are made from code, are put into one folder, build/pages, and their links become those
of the site. A file of the repository that a page links to, such as a recipe, becomes a page that shows it.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from docs.site import reference

ROOT = Path(__file__).parents[2]
#: Pages outside of docs/, or with another name there, and where the site has them.
PLACES = {
    "README.md": "index.md",
    "docs/README.md": "contents.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "deploy/README.md": "deploy.md",
}
#: A link of Markdown with its anchor, or the address of an image in HTML.
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(#[^)\s]*)?(?=\))|(?<=src=\")[^\":]+(?=\")|(?<=srcset=\")[^\":]+(?=\")")
_CODE = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_LANGUAGES = {".yaml": "yaml", ".py": "python", ".json": "json", ".sh": "bash", ".sbatch": "bash"}


def main(build: Path = ROOT / "build") -> None:
    """Write the pages, and have Zensical make the site of them; a broken link ends it with 1."""
    configuration = stage(build)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(configuration)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(
            f"{done.stdout}\nThe site was not built. Pages as they were given to Zensical: {build / 'pages'}"
        )
    print(f"The site is at {build / 'site' / 'index.html'}")


def stage(folder: Path) -> Path:
    """Write all pages into `folder`/pages, and beside them the configuration, whose path is returned."""
    pages = folder / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    texts = dict(written_pages())
    for path, text in texts.items():
        _write(pages / place_of(path), with_links_of_the_site(path, text))
    for place, page in reference.PAGES.items():
        _write(pages / place, page.make())
    for path in sorted({target for page, text in texts.items() for target in _targets(page, text)} - {*texts}):
        if path.startswith("docs/"):
            (pages / place_of(path)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, pages / place_of(path))
        else:
            _write(pages / place_of(path), _shown(path))
    shutil.copytree(ROOT / "docs" / "assets", pages / "assets", dirs_exist_ok=True)
    configuration = folder / "mkdocs.yml"
    added = yaml.safe_dump({"docs_dir": "pages", "site_dir": "site", "nav": navigation(texts["docs/README.md"])})
    configuration.write_text(f"{(ROOT / 'mkdocs.yml').read_text()}\n{added}")
    return configuration


def written_pages() -> Iterator[tuple[str, str]]:
    """Yield the path in the repository and the text of each page that somebody wrote."""
    for path in [*PLACES, *(str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs").rglob("*.md")))]:
        yield path, (ROOT / path).read_text()


def navigation(contents: str) -> list[dict[str, object]]:
    """Return the site's navigation: the home page, and for each heading of docs/README.md the pages of its table."""
    tabs: list[dict[str, object]] = [{"Home": ["index.md", {"All pages": "contents.md"}]}]
    for section in contents.split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        listed = re.findall(r"^\| \[([^\]]+)\]\(([^)]+)\) \|", body, re.MULTILINE)
        pages = [{title: place_of(_resolved("docs/README.md", target))} for title, target in listed]
        made = [{page.title: place} for place, page in reference.PAGES.items()] if heading == "Reference" else []
        tabs.append({heading: [*made, *pages]})
    return tabs


def place_of(path: str) -> str:
    """Return where the site has a file or folder of the repository."""
    if path in PLACES:
        return PLACES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}.md"


def with_links_of_the_site(path: str, text: str) -> str:
    """Return a page of the repository with links that hold in the site."""
    here = posixpath.dirname(place_of(path)) or "."

    def replaced(link: re.Match[str]) -> str:
        place = posixpath.relpath(place_of(_resolved(path, link[1] or link[0])), here)
        return place + (link[2] or "")

    linked = _outside_code(text, lambda prose: _LINK.sub(replaced, prose))
    # In code within a table code hosts want bars escaped, and Python-Markdown does not.
    return re.sub(r"^\|.*$", lambda row: re.sub(r"`[^`]+`", _with_bars, row[0]), linked, flags=re.MULTILINE)


def _with_bars(code: re.Match[str]) -> str:
    return code[0].replace("\\|", "|")


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Return a page with a change made outside of its code."""
    parts, end = [], 0
    for code in _CODE.finditer(text):
        parts += [change(text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(text[end:])])


def _targets(page: str, text: str) -> Iterator[str]:
    """Yield the paths of the repository that a page links to."""
    for link in _LINK.finditer(_CODE.sub("", text)):
        yield _resolved(page, link[1] or link[0])


def _resolved(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _shown(path: str) -> str:
    """Return a page that shows a file, or the files of a folder."""
    file = ROOT / path
    files = sorted(inner for inner in file.iterdir() if inner.is_file()) if file.is_dir() else [file]
    blocks = [f"## {file.name}\n\n````{_LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}````" for file in files]
    return "\n\n".join([f"# {path}", *blocks]) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


if __name__ == "__main__":
    main()
