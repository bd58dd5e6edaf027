from __future__ import annotations

import ast
import importlib.metadata
from pathlib import Path

import pytest

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.discover import discover
from gristmill.pipelines.sources.formats.python_env import SHARD_BYTES, packages, site_packages
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.sources.reading import read

MODULE = '''"""The module."""
import os

class Outer:
    """Outer class.

        indented
    less
    """

    def method(self):
        "single quotes: still a docstring"

        def inner():
            """Inner function."""

    async def wait(self):
        """Waits."""

if os.name == "posix":
    def twice():
        """One branch."""
else:
    def twice():
        """Other branch."""

def bare():
    x = """not a docstring"""
    return f"""{x}"""
'''


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A site-packages folder with two packages."""
    for name, files in {
        "Some.Package-1.0": {
            "some/__init__.py": MODULE,
            "some/empty.py": "x = 1\n",
            "some/broken.py": 'def f(:\n    """Never."""\n',
            "some/latin.py": '# coding: latin-1\n"""Caf\xe9."""\n'.encode("latin-1"),
            "some/tests/test_it.py": '"""A test."""\n',
            "some/data.json": "{}",
            "Some.Package-1.0.dist-info/METADATA": "Name: Some.Package\nSummary: x\n\n# Some package\n\nReads: well.\n",
            "Some.Package-1.0.dist-info/licenses/LICENSE.txt": "Do what you like.\n",
            "../../bin/some": "#!/usr/bin/python",
        },
        "another-2.0": {"another.py": '"""Another."""\n', "another-2.0.dist-info/METADATA": "Name: another\n"},
    }.items():
        info = tmp_path / f"{name}.dist-info"
        info.mkdir()
        for path, content in files.items():
            if not path.startswith(".."):
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
    return tmp_path


def test_docstrings_readmes_and_licences_are_documents(environment: Path) -> None:
    reading = read(environment, format="python_env", metadata=["kind", "package"])
    assert [(d["id"], d["kind"], d["text"]) for d in reading.documents] == [
        ("another/another.py", "docstring", "Another."),
        ("some-package/Some.Package-1.0.dist-info/METADATA", "readme", "# Some package\n\nReads: well.\n"),
        ("some-package/Some.Package-1.0.dist-info/licenses/LICENSE.txt", "license", "Do what you like.\n"),
        ("some-package/some/__init__.py", "docstring", "The module."),
        ("some-package/some/__init__.py:Outer", "docstring", "Outer class.\n\n    indented\nless"),
        ("some-package/some/__init__.py:Outer.method", "docstring", "single quotes: still a docstring"),
        ("some-package/some/__init__.py:Outer.method.inner", "docstring", "Inner function."),
        ("some-package/some/__init__.py:Outer.wait", "docstring", "Waits."),
        ("some-package/some/__init__.py:twice", "docstring", "One branch."),
        ("some-package/some/__init__.py:twice#2", "docstring", "Other branch."),
        ("some-package/some/latin.py", "docstring", "Café."),
    ]
    assert {d["package"] for d in reading.documents} == {"another", "some-package"}
    (reject,) = reading.rejects
    assert (reject.id, reject.reason) == ("some-package/some/broken.py", "malformed")


def test_packages_are_read_in_groups(environment: Path) -> None:
    source = Source(name="env", path=str(environment), format="python_env", part_bytes=1)
    assert [spec.name for spec in discover([source], "/")] == ["another", "some-package"]
    assert read(environment, format="python_env").shards == 1


def test_a_package_that_changed_is_another_shard(environment: Path) -> None:
    source = Source(name="env", path=str(environment), format="python_env", part_bytes=1)
    before = discover([source], "/")
    (environment / "another.py").write_text('"""Another one."""\n')
    after = discover([source], "/")
    assert [a.identity() == b.identity() for a, b in zip(before, after, strict=True)] == [False, True]
    with pytest.raises(ShardError, match="the package another was changed"):
        list(read_shard(before[0], source))


def test_the_running_environment_is_read_as_ast_reads_it() -> None:
    source = Source(name="env", path="auto", format="python_env", metadata=["kind"])
    folder = Path(site_packages())
    specs = discover([source], "/")
    assert [file.name for spec in specs for file in spec.files] == [file.name for file in packages(str(folder))]
    assert all(len(spec.files) == 1 or sum(file.size for file in spec.files) <= SHARD_BYTES for spec in specs)

    def docstrings(package: str) -> list[str]:
        files = importlib.metadata.distribution(package).files or []
        sources = [folder / f for f in files if f.suffix == ".py" and ".." not in f.parts and "tests" not in f.parts]
        nodes = [node for path in sources for node in ast.walk(ast.parse(path.read_bytes()))]
        kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        return sorted(text for node in nodes if isinstance(node, kinds) and (text := ast.get_docstring(node)))

    for package in ("fsspec", "typer"):
        (spec,) = [spec for spec in specs if package in [file.name for file in spec.files]]
        alone = spec.model_copy(update={"files": tuple(file for file in spec.files if file.name == package)})
        documents = [d for batch in read_shard(alone, source) for d in batch.documents.to_pylist()]
        assert sorted(d["text"] for d in documents if d["kind"] == "docstring") == docstrings(package)
        assert len({d["id"] for d in documents}) == len(documents)
