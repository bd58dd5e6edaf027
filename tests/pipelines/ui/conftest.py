"""A store behind pages, and what asks them; indexes lie in a cache of the tests' own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import gristmill
from gristmill.pipelines.ui.app import make_app
from tests.pipelines.html.corpus import parsed, write_corpus
from tests.pipelines.html.test_hostile_pages import hostile_recipe
from tests.pipelines.ui.labelled import write_labels


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a run of 320 documents, and labels of two annotators for some of them."""
    folder = tmp_path_factory.mktemp("ui")
    gristmill.run(write_corpus(folder))
    write_labels(str(folder / "store"))
    return str(folder / "store")


@pytest.fixture(scope="session")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store whose documents, ids, source and rules are hostile texts, and so are the answers of a labelling task."""
    from tests.pipelines.html.hostile import HOSTILE

    folder = tmp_path_factory.mktemp("hostile")
    gristmill.run(hostile_recipe(folder))
    write_labels(str(folder / "store"), HOSTILE)
    return str(folder / "store")


@pytest.fixture(scope="session")
def client(store: str) -> Iterator[TestClient]:
    with asking(store) as client:
        yield client


def asking(store: str) -> TestClient:
    """What asks the pages of a store as a browser does; indexes lie beside it."""
    return TestClient(
        make_app(store, Path(f"{store}-cache")), base_url="http://127.0.0.1:8765", raise_server_exceptions=False
    )


def page(client: TestClient, path: str, **parameters: Any) -> Any:
    """The page at a path as a tree of elements, once what it needs is indexed."""
    for _ in range(600):
        answer = client.get(path, params=parameters or None)
        assert answer.status_code == 200, answer.text
        assert "cannot be made" not in answer.text, answer.text
        tree = parsed(answer.content)
        if not tree.xpath("//progress"):
            return tree
        time.sleep(0.05)
    raise AssertionError(f"{path} still has no index")


def texts(tree: Any, path: str) -> list[str]:
    """The texts of elements, white space as single spaces."""
    return [" ".join(element.text_content().split()) for element in tree.xpath(path)]
