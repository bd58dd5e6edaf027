"""Fixtures that more than one test module uses: a small corpus with known duplicates, recipes, a store."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from gristmill.pipelines.engine.base import Engine
from tests.support import DATA, make_documents, sentences, write_jsonl

# Shared machines pause at any moment, and kernels compile on their first call: no time limit per example.
settings.register_profile("gristmill", deadline=None)
settings.load_profile("gristmill")


def pytest_configure() -> None:
    """Commands that tests start are ended by signals, which nohup and a shell's `&` make them ignore otherwise."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before several processes run tests, the kernels are compiled: else each of them compiles what it calls."""
    if session.config.getoption("numprocesses", None) and not hasattr(session.config, "workerinput"):
        from gristmill.operators.kernels.examples import EXAMPLES
        from gristmill.pipelines.engine.warm_up import compile_missing

        compile_missing(EXAMPLES)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks at groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use Ray stay in one process where several run: there is one small cluster at a time."""
    for item in items:
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder with four shards of 100 documents under data/."""
    documents = make_documents(400)
    for i in range(4):
        write_jsonl(tmp_path / "data" / f"docs-{i}.jsonl.gz", documents[i * 100 : (i + 1) * 100])
    return tmp_path


@pytest.fixture
def make_recipe() -> Callable[..., Path]:
    """Writes a recipe into a folder: the given keys over the smallest one."""

    def make(folder: Path, file: str = "recipe.yaml", **keys: Any) -> Path:
        smallest = {
            "version": 1,
            "name": "test",
            "store": "./store",
            "sources": [{"name": "docs", "path": "data/docs-*", "metadata": ["lang"]}],
            "write": {},
        }
        path = folder / file
        path.write_text(yaml.safe_dump({**smallest, **keys}, sort_keys=False))
        return path

    return make


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer of 600 entries with an end-of-text token, 1."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<unk>", "<|endoftext|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentences(seed, 400) for seed in range(20)], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture
def packed_recipe(corpus: Path, make_recipe: Callable[..., Path], tokenizer_file: Path) -> Path:
    """A recipe that packs the tokens of 360 documents into six shards."""
    shutil.copy(tokenizer_file, corpus / "tokenizer.json")
    pack = {"tokenizer": "tokenizer.json", "length": 64, "seed": 5}
    return make_recipe(corpus, decide=["exact_dedup"], write={"shard_bytes": 40_000, "pack": pack})


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[Engine]:
    """The engine of the one small cluster that tests marked `ray` share; those opened beside it join it."""
    from gristmill.pipelines.engine.ray_data import RayEngine

    engine = RayEngine(2)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real text for tests that need it; they are skipped where it is not there."""
    if not DATA.is_dir():
        pytest.skip(f"real text is not at {DATA}")
    return DATA
