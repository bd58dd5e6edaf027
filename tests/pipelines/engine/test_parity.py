"""One recipe, every engine, any number of workers, workers that die: the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from gristmill.operators.errors import FatalError
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.stages.run import run
from tests.pipelines.engine.work import Fault, FaultyEngine, Killing, KillingAlways
from tests.support import make_documents, write_jsonl

RULES = [
    {"drop": "gopher_words < 40"},
    {"exact_dedup": {"keep": "best: importance"}},
    {"drop": {"when": "importance < quantile(0.1)", "name": "far"}},
    {"select": {"by": "importance", "documents": 200, "seed": 3}},
]


@pytest.fixture
def recipe(corpus: Path, make_recipe: Callable[..., Path], tokenizer_file: Path) -> Path:
    """Two sources, a fitted measure, every kind of rule, several output files, packed tokens."""
    write_jsonl(corpus / "more" / "x.jsonl", make_documents(60, seed=4))
    write_jsonl(corpus / "target" / "t.jsonl.gz", make_documents(40, seed=7))
    return make_recipe(
        corpus,
        sources=[{"name": "docs", "path": "data/docs-*", "metadata": ["lang"]}, {"name": "more", "path": "more/*"}],
        measure=["gopher", {"importance": {"target": "target/*", "buckets": 4096}}],
        decide=RULES,
        write={"shard_bytes": "40KB", "pack": {"tokenizer": str(tokenizer_file), "length": 64}},
    )


def datasets(recipe: Path, engine: str, workers: int, **faults: Fault) -> dict[str, bytes]:
    """Every file below datasets/ of a fresh store, after a run; faults by the functions that go wrong."""
    from gristmill.pipelines.engine import open_engine

    store = recipe.parent / f"store-{engine}-{workers}"
    run(
        load_recipe(str(recipe), [f"store={store}"]),
        lambda: FaultyEngine(open_engine(engine, workers), faults),  # type: ignore[arg-type]
        Reporter(quiet=True),
    )
    folder = store / "datasets"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_number_of_threads_does_not_show(recipe: Path) -> None:
    one = datasets(recipe, "local", 1)
    assert len(one) > 4
    assert datasets(recipe, "local", 2) == datasets(recipe, "local", 4) == one


def test_the_sizes_at_which_work_is_divided_do_not_show(recipe: Path) -> None:
    plain = datasets(recipe, "local", 1)
    exchange = {"exchange_blocks": 0, "exchange_group": 2, "exchange_bytes": 1000, "exchanged_tokens": 300}
    with tuned(batch_rows=7, batch_bytes=1000, partition_rows=16, tabulated=10, **exchange):
        assert datasets(recipe, "local", 2) == plain


@pytest.mark.ray
def test_ray_gives_the_same_bytes(recipe: Path, ray_engine: Engine) -> None:
    assert datasets(recipe, "ray", 2) == datasets(recipe, "local", 2)


@pytest.mark.slow  # test_fuzzy_parity kills workers too
@pytest.mark.ray
@pytest.mark.parametrize("after", [False, True], ids=["before-the-work", "after-the-work"])
def test_killed_workers_do_not_show(recipe: Path, ray_engine: Engine, tmp_path: Path, after: bool) -> None:
    quiet = datasets(recipe, "local", 2)
    marks = tmp_path / "killed"
    marks.mkdir()
    killing = partial(Killing, folder=marks, after=after)
    assert datasets(recipe, "ray", 2, measure_shard=killing, write_files=killing) == quiet
    killed = [mark.name.split("-")[0] for mark in marks.iterdir()]
    assert killed.count("measure_shard") == 5
    assert killed.count("write_files") > 1


@pytest.mark.slow
@pytest.mark.ray
def test_a_shard_that_always_kills_its_worker_ends_the_run_by_name(recipe: Path, ray_engine: Engine) -> None:
    with pytest.raises(FatalError, match=r"KillingAlways\(data/docs-2.jsonl.gz\) ended its worker process 5 times"):
        datasets(recipe, "ray", 2, measure_shard=partial(KillingAlways, word="docs-2"))
    measured = list((recipe.parent / "store-ray-2" / "measures").glob("*/0*.parquet"))
    assert len(measured) == 4, "the other shards are measured and kept"
    assert datasets(recipe, "ray", 2) == datasets(recipe, "local", 2)
