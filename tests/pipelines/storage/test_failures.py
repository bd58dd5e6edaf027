"""What a store says that takes no file or does not answer, in words of use."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gristmill.operators.errors import FatalError, RetryableError
from gristmill.pipelines.storage import files, remote


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Make room there"), (errno.EROFS, "choose another store"), (errno.EACCES, "the right to write")],
)
def test_a_disk_that_refuses_is_named_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(FatalError, match=rf"{tmp_path}/file cannot be written: .*{remedy}"):
        files.write_bytes(str(tmp_path / "file"), b"content")
    assert os.listdir(tmp_path) == []


def test_other_errors_of_a_disk_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.write_bytes(str(tmp_path / "file"), b"content")


def test_a_store_that_does_not_answer_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def invalidate_cache(self) -> None: ...

        def ls(self, path: str, detail: bool) -> list[str]:
            raise TimeoutError("no answer")

    monkeypatch.setattr(remote.time, "sleep", lambda _: None)
    monkeypatch.setattr(files, "filesystem", lambda url: (Silent(), url))
    with pytest.raises(RetryableError, match="s3://store/runs cannot be reached: no answer"):
        files.names("s3://store/runs")


def test_leftovers_are_swept_at_any_depth(tmp_path: Path) -> None:
    deep = tmp_path / "measures" / "pass"
    deep.mkdir(parents=True)
    (deep / f"0.parquet{files.UNFINISHED}1").touch()
    (deep / "1.parquet").touch()
    files.sweep(str(tmp_path))
    assert os.listdir(deep) == ["1.parquet"]
