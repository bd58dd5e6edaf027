"""Revisions of models: any change of a folder's model files is another one; the hub's commit is read off its cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.models import found_revision


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like a model's."""
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(bytes(range(256)) * 20_000)
    return place


def test_a_copy_of_a_folder_is_the_same_model(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "copy")
    assert found_revision(str(folder)) == found_revision(str(folder.parent / "copy"))


@pytest.mark.parametrize("place", [0, 2_500_000, 5_119_999])
def test_other_weights_are_another_model(folder: Path, place: int) -> None:
    before = found_revision(str(folder))
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(place)
        changed = file.read(1)[0] ^ 1
        file.seek(place)
        file.write(bytes([changed]))
    assert found_revision(str(folder)) != before


def test_another_template_is_another_model_and_a_readme_is_not(folder: Path) -> None:
    before = found_revision(str(folder))
    (folder / "README.md").write_text("new")
    assert found_revision(str(folder)) == before
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert found_revision(str(folder)) != before


def test_large_files_are_digested_in_pieces_from_the_first_byte_to_the_last(folder: Path) -> None:
    revisions = set()
    for content in (b"", b"first", b"last"):
        with open(folder / "model.safetensors", "wb") as file:
            file.truncate(200 << 20)
            file.seek(0 if content == b"first" else (200 << 20) - len(content))
            file.write(content)
        revisions.add(found_revision(str(folder)))
    assert len(revisions) == 3


def test_what_is_neither_folder_nor_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no model .*no-such-folder.* Give a model's folder or its id"):
        found_revision(str(tmp_path / "no-such-folder"))
