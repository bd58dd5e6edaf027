"""An address is one document: whatever mix of folders, globs, links and sources names the files."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.operators.columns import address
from gristmill.pipelines.config import located_yaml
from gristmill.pipelines.sources.discover import Discovery
from gristmill.pipelines.sources.read import read_shard
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry, check_addresses
from tests.pipelines.sources.reading import as_lines

FOLDERS = ["a", "b", "a/deep", "b/deep"]
PATHS = ["a", "b", ".", "a/*", "*/*.jsonl", "**/*.jsonl", "**", "a/deep", "?/[a-c]*.jsonl", "b/1.jsonl", "*/deep/**"]
#: A file of ours by folder and number, or a link there to another place.
PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(["0.jsonl", "1.jsonl", "c.jsonl", "l", "m"]))
TARGETS = st.sampled_from([*FOLDERS, *(f"{folder}/{i}.jsonl" for folder in FOLDERS for i in range(2)), "."])
#: Path, metadata, size of parts.
SOURCES = st.tuples(
    st.lists(st.sampled_from(PATHS), min_size=1, max_size=2), st.booleans(), st.sampled_from([60, 100, 10_000])
)


def oracle(folder: Path, paths: list[str]) -> set[str]:
    """The real files that paths stand for, by Python's own walk and glob, both of which follow links.

    Below `**` the walk alone: glob would follow two links that lead back to each other in every order there is.
    """
    matched: set[str] = set()
    for path in paths:
        whole = folder / path
        if path == "**/*.jsonl":
            matched |= {file for file in walked(folder) if file.endswith(".jsonl")}
        elif whole.is_dir() or path.endswith("**"):
            start = whole if whole.is_dir() else None
            starts = [start] if start else map(Path, glob.glob(str(folder / path.removesuffix("**"))))
            for root in starts:
                matched |= walked(root)
        else:
            matched |= {os.path.realpath(p) for p in glob.glob(str(whole)) if os.path.isfile(p)}
    return matched


def walked(root: Path) -> set[str]:
    found: set[str] = set()
    seen: set[str] = set()
    pending = [str(root)]
    while pending:
        place = pending.pop()
        inside = os.path.realpath(place)
        if inside in seen:
            continue
        seen.add(inside)
        for name in os.listdir(place):
            path = f"{place}/{name}"
            target = os.path.realpath(path)
            if os.path.isfile(path):
                found.add(target)
            elif not f"{inside}/".startswith(f"{target}/"):  # a link back leads to nothing of its own
                pending.append(path)
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.sets(PLACES, min_size=1),
    links=st.dictionaries(PLACES, TARGETS, max_size=4),
    sources=st.lists(SOURCES, min_size=1, max_size=3),
)
def test_no_address_appears_twice(
    tmp_path_factory: pytest.TempPathFactory,
    files: set[tuple[str, str]],
    links: dict[tuple[str, str], str],
    sources: list[tuple[list[str], bool, int]],
) -> None:
    folder = tmp_path_factory.mktemp("corpus").resolve()
    for name in FOLDERS:
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
    for place, name in sorted(files):
        path = folder / "data" / place / name
        if name.endswith("jsonl"):
            path.write_bytes(as_lines([{"id": f"{place}/{name}/{i}", "text": f"text {i}"} for i in range(4)]))
    for (place, name), target in sorted(links.items()):
        path = folder / "data" / place / (name if name.endswith("jsonl") == target.endswith("jsonl") else f"{name}x")
        if not path.exists() and (folder / "data" / target).exists() and not path.name.endswith("x"):
            path.symlink_to(folder / "data" / target)
    data = folder / "data"
    discovery = Discovery(str(data))
    registry = Registry(str(folder / "store"))
    specs = []
    named: dict[tuple[str, bool], str] = {}
    for i, (paths, more, part_bytes) in enumerate(sources):
        wanted = oracle(data, paths)
        paths = [path for path in paths if oracle(data, [path])]
        if not paths:
            continue
        source = Source(name=f"s{i}", path=paths, metadata=["lang"] if more else [], part_bytes=part_bytes)
        of = discovery.find(source)
        read = {os.path.realpath(file.url) for spec in of.specs for file in spec.files}
        assert read == {real for real in wanted if (real, more) not in named}
        assert {first for _, first in of.again} == {named[real, more] for real in wanted if (real, more) in named}
        named |= {(real, more): source.name for real in read}
        specs += [(spec, source) for spec in of.specs]
    shards = registry.register(specs, located_yaml.load("{}", "recipe.yaml"))
    check_addresses(shards)
    documents: list[tuple[int, str, bool]] = []
    for shard in shards:
        for batch in read_shard(shard.spec, shard.source):
            rows, ids = batch.documents["row"].to_pylist(), batch.documents["id"].to_pylist()
            more = bool(shard.source.metadata)
            documents += [(address(shard.ordinal, row), id, more) for row, id in zip(rows, ids, strict=True)]
    addresses = [at for at, _, _ in documents]
    assert len(set(addresses)) == len(addresses)
    readings = [(id, more) for _, id, more in documents]
    assert len(set(readings)) == len(readings) == 4 * len(named)
