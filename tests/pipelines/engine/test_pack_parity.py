"""Packed tokens are the same on Ray, with workers that are killed while they write and while they pack."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from gristmill.pipelines.engine.base import Engine
from tests.pipelines.engine.work import Killing
from tests.pipelines.stages.test_run import execute
from tests.pipelines.test_pack import token_files


@pytest.mark.slow  # test_parity packs on Ray too, with workers that live
@pytest.mark.ray
@pytest.mark.parametrize("by", ["[]", "[lang, {gopher_words: [50%, 90%]}]"])
def test_ray_and_killed_workers_give_the_same_tokens(
    packed_recipe: Path, ray_engine: Engine, tmp_path: Path, by: str
) -> None:
    store = packed_recipe.parent / "store"
    options = (f"write.pack.by={by}", "measure=[{tokens: tokenizer.json}]")
    execute(packed_recipe, *options)
    marks = tmp_path / "killed"
    marks.mkdir()
    killing = partial(Killing, folder=marks, after=True, most=1)
    faults = {"write_files": killing, "pack_partition": killing}
    execute(packed_recipe, *options, f"store={store}-ray", engine="ray", faults=faults)
    assert {mark.name.split("-")[0] for mark in marks.iterdir()} == {*faults}
    assert token_files(Path(f"{store}-ray")) == token_files(store)
