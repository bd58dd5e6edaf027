"""An installed Python environment as a corpus: docstrings, READMEs and licence files of its packages.

It is real text on every machine where gristmill runs, with natural duplicates and of uneven quality; the demo curates
it. A package is a distribution that pip or a similar tool recorded in a `.dist-info` folder; its files are those of its
RECORD. Tests are left out: there is little to read in them, and much to parse.
"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import re
import sysconfig
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError, ShardError
from gristmill.pipelines.sources.formats.base import Format, by_file, fixed
from gristmill.pipelines.sources.records import Fault, Record
from gristmill.pipelines.sources.storage import FileRef, failures_named
from gristmill.pipelines.storage.locations import absolute

FIELDS = ("id", "text", "kind", "package")
#: Bytes of source in one shard: few, since parsing Python takes long for its size.
SHARD_BYTES = 16_000_000
_LICENCE = re.compile(r"(?i)^(licen[cs]es?|copying|notice|authors|copyright)\b")
#: CPython counts the depth of all parsers of a process together (python/cpython#106905), so one parses at a time.
_PARSER = threading.Lock()
_TESTS = frozenset({"test", "tests"})
#: Warnings of invalid escapes and the like in installed packages do not concern the user. The filter is set once, since
#: `warnings.catch_warnings` is not safe in threads, and applies to this file name alone.
_PARSED = "<python_env>"
warnings.filterwarnings("ignore", module=re.escape(_PARSED))


def site_packages() -> str:
    """Return the running interpreter's site-packages folder."""
    return sysconfig.get_paths()["purelib"]


def packages(folder: str) -> list[FileRef]:
    """Return the packages of a site-packages folder, in the order of names.

    A package's version is a digest of its files' sizes and times. Raises RecipeError where there is no package.
    """
    refs = [_package_ref(info) for info in sorted(Path(folder).glob("*.dist-info"))]
    if not refs:
        raise RecipeError(
            f"{folder} holds no installed packages (no *.dist-info folders); name a site-packages folder, or `auto`"
        )
    return sorted(refs, key=lambda ref: (ref.name, ref.url))


def _package_ref(info: Path) -> FileRef:
    states = []
    for path, relative in _documented_files(info):
        status = path.stat()
        states.append((relative, status.st_size, status.st_mtime_ns))
    name = re.sub(r"[-_.]+", "-", info.name.removesuffix(".dist-info").rsplit("-", 1)[0]).lower()
    return FileRef(url=str(info), name=name, size=sum(size for _, size, _ in states), version=digest_of(states))


def _documented_files(info: Path) -> list[tuple[Path, str]]:
    """Return (path, path below site-packages) of the files that may hold documents, in order."""
    recorded = importlib.metadata.Distribution.at(info).files or []
    relative = {str(PurePosixPath(file)) for file in recorded if ".." not in file.parts}
    relative.add(f"{info.name}/METADATA")
    documented = sorted(path for path in relative if _kind(path) is not None)
    return [(path, name) for name in documented if (path := info.parent / name).is_file()]


def _kind(relative: str) -> str | None:
    path = PurePosixPath(relative)
    in_metadata = path.parts[0].endswith(".dist-info")
    if in_metadata and path.name == "METADATA":
        return "readme"
    if _LICENCE.match(path.name) and path.suffix not in (".py", ".pyc", ".json"):
        return "license"
    if path.suffix == ".py" and not _TESTS & set(path.parts[:-1]):
        return "docstring"
    return None


def python_env(package: FileRef, limit: int) -> Iterator[Record]:
    """Yield the documents of one package, in the order of its files and of the definitions in each.

    Fields: id `package/file:qualified.name`, text, kind (docstring, readme or license), package. A file that this
    interpreter cannot parse, or that is not UTF-8, is a bad record.
    """
    with failures_named(package):
        info = Path(package.url)
        if not info.is_dir() or _package_ref(info) != package:
            raise ShardError(f"the package {package.name} was changed after the run had listed it; run again")
        for path, relative in _documented_files(info):
            yield from _records(package.name, path, relative, limit)


def _records(package: str, path: Path, relative: str, limit: int) -> Iterator[Record]:
    kind = _kind(relative)
    uses: Counter[str] = Counter()
    try:
        if path.stat().st_size > limit:
            raise Fault("too_large", f"{path} has more than {limit:,} bytes (document_bytes)")
        for name, text in _documents(kind, path):
            uses[name] += 1
            again = f"#{uses[name]}" if uses[name] > 1 else ""  # an overload, or a definition in each branch of an if
            yield Record({"id": f"{package}/{relative}{name}{again}", "text": text, "kind": kind, "package": package})
    except Fault as fault:
        yield Record({"id": f"{package}/{relative}"}, relative, fault=fault)


def _documents(kind: str | None, path: Path) -> Iterator[tuple[str, str]]:
    """Yield (suffix of the id, text) of each document of a file."""
    content = path.read_bytes()
    if kind == "docstring":
        yield from ((f":{name}" if name else "", text) for name, text in _docstrings(path, content))
        return
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Fault(
            "invalid_utf8", f"{path}: byte {error.start:,} (0x{content[error.start]:02x}) is not UTF-8"
        ) from None
    if kind == "readme":
        # Fields, an empty line, the description (core metadata 2.1): the message parser would be slow and change it.
        text = text.replace("\r\n", "\n").partition("\n\n")[2]
    if text.strip():
        yield "", text


def _docstrings(path: Path, content: bytes) -> Iterator[tuple[str, str]]:
    if b'"""' not in content and b"'''" not in content:
        return
    try:
        with _PARSER:
            module = ast.parse(content, _PARSED)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Fault("malformed", f"{path} is not Python of this interpreter's: {error}") from None
    yield from _docstrings_below(module, ())


def _docstrings_below(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, docstring) of a definition and of all inside it, in source order."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            text = inspect.cleandoc(first.value.value)
            if text:
                yield ".".join(names), text
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings_below(child, (*names, child.name))
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _docstrings_below(child, names)


def _find(paths: Sequence[str], base: str) -> list[FileRef]:
    """Return the packages of the folders that paths name, folder by folder; `auto` is that of this interpreter."""
    folders = (site_packages() if path == "auto" else absolute(path, base) for path in paths)
    return list({ref.url: ref for folder in folders for ref in packages(folder)}.values())


PYTHON_ENV = Format(
    "python_env",
    by_file(lambda reading: python_env(reading.file, reading.limit)),
    fixed(FIELDS),
    fields=FIELDS,
    find=_find,
    group_bytes=SHARD_BYTES,
)
