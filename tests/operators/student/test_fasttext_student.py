"""The fastText student: what it reads, and scores beside those of the fasttext library."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.classifier import TEXTS_AT_A_TIME
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.student.calibration import Calibration
from gristmill.operators.student.fasttext import UNSEEN, FastTextStudent, label_word, lines_of
from gristmill.operators.student.student import CALIBRATION, read_student
from gristmill.pipelines.train.fasttext import TrainingArguments, train_model
from gristmill.pipelines.train.fasttext_lesson import DRAWS, drawn_labels
from tests.support import make_documents

LABELS = ("unseen", "one of three", "50 %", "a/b")


def line_of(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]+", text.lower()))


def written(texts: list[str | None]) -> list[str]:
    return [
        data[start:end].tobytes().decode()
        for _, (data, starts) in lines_of(pa.array(texts, pa.large_string()))
        for start, end in itertools.pairwise(starts)
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three labels of documents, its calibration beside it."""
    folder = tmp_path_factory.mktemp("fasttext")
    with open(folder / "lines.txt", "w") as file:
        for i, document in enumerate(make_documents(60)):
            file.write(f"{label_word(LABELS[1 + i % 3])} {line_of(document['text'])}\n")
    train_model(folder / "lines.txt", folder / "m.bin", TrainingArguments(8, 2, 5, 0.5, 1, 5000, 0, 1, "ova"))
    about = {"fasttext": {"kind": "choice", "labels": LABELS}}
    calibration = Calibration("temperature", 1.0).to_json()
    Path(f"{folder / 'm.bin'}{CALIBRATION}").write_text(json.dumps({**calibration, **about}))
    return folder / "m.bin"


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["M", "Lo"]), max_size=50)))
def test_texts_are_read_as_lower_case_words_and_punctuation(texts: list[str | None]) -> None:
    assert written(texts) == [line_of(text or "") for text in texts]


def test_many_texts_are_read_as_each_is() -> None:
    texts = [f"Text {i}, of\nmany!" * (1 + i % 3) for i in range(2 * TEXTS_AT_A_TIME + 5)]
    assert written(texts) == [line_of(text) for text in texts]
    assert written(texts[3:])[:2] == [line_of(text) for text in texts[3:5]]


def test_bytes_that_are_not_utf8_have_room() -> None:
    broken = pa.array([b"\xff" * 1000, b"a\xff" * 500], pa.large_binary())
    texts = pa.Array.from_buffers(pa.large_string(), 2, broken.buffers())
    ((_, (data, starts)),) = lines_of(texts)
    assert data[: starts[1]].tobytes().decode() == "\ufffd" * 1000
    assert data[starts[1] : starts[2]].tobytes().decode() == " ".join(["a \ufffd"] * 500)


def test_scores_are_those_of_the_library(model: Path) -> None:
    library = fasttext.load_model(str(model))
    texts = [document["text"] for document in make_documents(80, seed=5)] + ["", "nothing of that, KNOWN"]
    scores = FastTextStudent(model, "choice", LABELS).scores(pa.array([*texts, None], pa.large_string()))
    output = library.get_output_matrix()
    hidden = np.stack([library.get_sentence_vector(line_of(text)) for text in texts])
    names = [LABELS.index(label) for label in ("one of three", "50 %", "a/b")]
    order = [library.get_labels().index(label_word(LABELS[i])) for i in names]
    np.testing.assert_allclose(scores[:-1, names], (hidden @ output.T)[:, order], atol=1e-5)
    assert (scores[:, 0] == UNSEEN).all()
    assert scores[-1].tolist() == scores[-3].tolist(), "a null is scored as an empty text"


def test_it_is_a_measure(model: Path) -> None:
    measure = Distilled(model=str(model), label="50 %", column="half")
    files = {name: Path(path) for name, path in measure.resources().items()}
    measure.check(files)
    texts = [document["text"] for document in make_documents(5)]
    shares = measure.open(files)(pa.record_batch({"text": pa.array([*texts, None], pa.large_string())}))[
        "half"
    ].to_pylist()
    student, calibration = read_student(files["model"], files["calibration"])
    expected = calibration.probabilities(student.scores(pa.array(texts, pa.large_string())), True)[:, 2]
    assert shares == [*expected.astype(np.float32).tolist(), None]
    with pytest.raises(RecipeError, match="has no label best"):
        Distilled(model=str(model), label="best").check(files)


@pytest.mark.parametrize("about", [{"kind": "choice", "labels": ["a", "b"]}, {"kind": "choice"}, 3])
def test_a_calibration_of_another_model_is_refused(model: Path, tmp_path: Path, about: object) -> None:
    calibration = tmp_path / "c.json"
    calibration.write_text(json.dumps({**Calibration("temperature", 1.0).to_json(), "fasttext": about}))
    with pytest.raises(RecipeError, match=r"c\.json is no calibration of a student .*m\.bin"):
        read_student(model, calibration)


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=20),
    st.sampled_from([1.0, 5.0, 7.3]),
)
def test_labels_are_drawn_as_often_as_they_are_probable(rows: list[list[float]], wanted: float) -> None:
    targets = np.array(rows) / np.sum(rows, axis=1, keepdims=True)
    lines = drawn_labels(targets, np.full(len(targets), wanted), np.random.default_rng(1))
    for i, of_text in enumerate(targets):
        drawn = np.bincount(lines[lines[:, 0] == i, 1], minlength=3)
        assert abs(drawn.sum() - wanted) < 1
        assert (abs(drawn - drawn.sum() * of_text) < 1 + 1e-9).all()


def test_a_certain_label_is_in_every_line_and_a_text_has_one_at_least() -> None:
    targets = np.eye(4)[np.arange(100) % 4]
    lines = drawn_labels(targets, np.where(np.arange(100) < 50, DRAWS, 0.01), np.random.default_rng(0))
    assert (lines[:, 1] == lines[:, 0] % 4).all()
    assert (np.bincount(lines[:, 0])[:50] == DRAWS).all()
    assert (np.bincount(lines[:, 0])[50:] == 1).all()
    assert (np.diff(lines[:, 0]) < 0).any(), "lines of texts lie mixed"
