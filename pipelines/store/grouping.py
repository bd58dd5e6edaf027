"""Groups of small files that are read together: registered groups are kept, new files form new ones.

Groups cut from the listing alone would change whenever a file is added, removed or changed, and all files after it
would be measured again. So a registered group is kept as long as all its files are there as they were; the files of a
broken group and new files are grouped among themselves. Where a file is in several registered groups the latest of
these counts: it was made because an earlier one could not be read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby

from gristmill.pipelines.config.located_yaml import LocatedYaml
from gristmill.pipelines.sources.discover import FileRef, ShardSpec, group_bytes, grouped
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.store.registry import Registry

Specs = list[tuple[ShardSpec, Source]]


def settled(found: Specs, registry: Registry, document: LocatedYaml, held: Container[int] = ()) -> Specs:
    """Return the shards of the sources, as `discover` found them, in groups that the registry knows where possible.

    Files of broken groups that an index holds (the ordinals in `held`) are left out: their documents are decided.
    """
    several = any(spec.count('"url"') > 1 for spec in registry.specs)
    if not several and not any(len(spec.files) > 1 for spec, _ in found):
        return found
    stored = _by_file(registry)
    shards: Specs = []
    for _, specs in groupby(found, key=lambda pair: id(pair[1])):
        shards += _Settling(list(specs), registry, document).settle(stored, held)
    return shards


def _by_file(registry: Registry) -> dict[str, list[int]]:
    """Return the ordinals of the registered shards of whole files, by the URL of each file."""
    ordinals: dict[str, list[int]] = defaultdict(list)
    markers = [f'"format": "{format_.name}"' for format_ in FORMATS.values() if format_.find is not None]
    for ordinal, text in enumerate(registry.specs):
        if '"part": null' in text and not any(marker in text for marker in markers):
            for file in json.loads(text)["files"]:
                ordinals[file["url"]].append(ordinal)
    return ordinals


class _Settling:
    """Assignment of the files of one source to groups."""

    def __init__(self, specs: Specs, registry: Registry, document: LocatedYaml) -> None:
        self._source = specs[0][1]
        self._registry, self._document = registry, document
        self._fixed = [spec for spec, _ in specs if spec.part is not None or FORMATS[spec.format].find is not None]
        loose = [spec for spec, _ in specs if spec.part is None and FORMATS[spec.format].find is None]
        self._files = {document.redact(file.url): (file, spec) for spec in loose for file in spec.files}

    def settle(self, stored: Mapping[str, Sequence[int]], held: Container[int]) -> Specs:
        """Return the shards of the source, in path order."""
        candidates = {ordinal for url in self._files for ordinal in stored.get(url, ())}
        shards = self._fixed + list(self._known(sorted(candidates, reverse=True), held)) + list(self._new())
        return [(spec, self._source) for spec in sorted(shards, key=lambda s: (s.files[0].url, s.part or (0, 0)))]

    def _known(self, ordinals: Sequence[int], held: Container[int]) -> Iterator[ShardSpec]:
        """Yield the registered shards whose files are all here, and take these files out of `_files`."""
        broken: list[list[str]] = []
        for ordinal in ordinals:
            stored = ShardSpec.model_validate_json(self._registry.specs[ordinal])
            if self._registry.known(stored, self._source, self._document) != ordinal:
                continue  # read in another way now
            here = [file.url for file in stored.files if self._is_here(file, stored)]
            if len(here) == len(stored.files):
                files = tuple(self._files.pop(url)[0] for url in here)
                yield stored.model_copy(update={"source": self._source.name, "files": files})
            elif ordinal in held:
                broken.append(here)
        for url in (url for urls in broken for url in urls):
            self._files.pop(url, None)

    def _is_here(self, file: FileRef, stored: ShardSpec) -> bool:
        now, spec = self._files.get(file.url, (None, stored))
        kind = (spec.format, spec.compression)
        return now is not None and (now.size, now.version, kind) == (
            file.size,
            file.version,
            (stored.format, stored.compression),
        )

    def _new(self) -> Iterator[ShardSpec]:
        """Yield shards of the files that no registered shard has: single files, and the others in new groups."""
        files_by_kind: dict[tuple[str, str], list[FileRef]] = defaultdict(list)
        like: dict[tuple[str, str], ShardSpec] = {}
        for file, spec in self._files.values():
            if len(spec.files) == 1:
                yield spec
                continue
            like[spec.format, spec.compression] = spec
            files_by_kind[spec.format, spec.compression].append(file)
        for kind, files in files_by_kind.items():
            for group in grouped(files, group_bytes(self._source, like[kind].format)):
                yield like[kind].model_copy(update={"files": group})


def without(spec: ShardSpec, unreadable: Sequence[int]) -> tuple[ShardSpec | None, list[ShardSpec]]:
    """Split a shard of several files: a shard of those that can be read, if any, and one of each of the others."""
    rest = tuple(file for i, file in enumerate(spec.files) if i not in set(unreadable))
    alone = spec.singly()
    return (spec.model_copy(update={"files": rest}) if rest else None), [alone[i] for i in unreadable]
