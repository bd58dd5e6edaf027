import gzip
import json
import pickle
import random
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import fasttext
import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext import best_labels
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.operators.measures import language
from gristmill.operators.measures.language import PACKAGES, Language, installed_model
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from tests.operators.measures.fasttext_models import KINDS, THREADS, model_file, words_like
from tests.support import write_jsonl

DRAW = random.Random(7)
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "zh": "我们今天去北京看朋友，天气很好。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ar": "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق.",
}
TEXTS = [
    *SENTENCES.values(),
    "",
    " \t\r\v\f\0",
    "\n\n",
    "first line\nzweite Zeile\r\n\n  troisième\tligne",
    "nul\0inside and \x1f not a separator, nor \u00a0 nor \u3000",
    "__label__en hello __label__de __label__unknown __labelx world",
    "hello world </s> ce qui suit la fin de la ligne n'est pas vu",
    "< > <> <hello>",
    "x",
    "1234567890 !?",
    "😀 😀 👩‍👩‍👧",
    "x" * 100_000,
    "中" * 30_000,
    "\n".join(" ".join(words_like(DRAW, 12)) for _ in range(2000)),
    *(" ".join(words_like(DRAW, DRAW.randint(1, 200))) for _ in range(40)),
]
ODD_BYTES = [
    b"caf\xe9 au lait \xff\xfe",
    b"lone \xed\xa0\x80 surrogate \xed\xbf\xbf",
    b"\x80\x80\x80 \xbf",
    b"cut in the middle of \xf0\x9f\x91",
    "Grüße".encode("latin-1") * 30,
]


def documents(texts):
    """A batch of texts, str or bytes, which need not be UTF-8."""
    content = pa.array([t.encode() if isinstance(t, str) else t for t in texts], pa.large_binary())
    text = pa.LargeStringArray.from_buffers(len(content), *content.buffers()[1:], content.buffers()[0])
    return pa.record_batch({"text": text})


def measured(texts, path=None, **fields):
    """Rows of the measure's columns."""
    operator = Language(**fields)
    return operator.open({"model": Path(path or installed_model())})(documents(texts)).to_pylist()


def assert_equals_the_library(path, texts, **fields):
    """Both have the same two labels with the same probabilities; labels of like probability may change places."""
    model = fasttext.load_model(str(path))
    for text, row in zip(texts, measured(texts, path, **fields), strict=True):
        line = (text.encode() if isinstance(text, str) else text).replace(b"\n", b" ") + b"\n"
        best = [(p, label.removeprefix("__label__")) for p, label in model.f.predict(line, 3, 0.0, "replace")]
        for i, suffix in enumerate(("", "_2")):
            name, score = row[f"lang{suffix}"], row[f"lang{suffix}_score"]
            assert (name is None) == (score is None)
            # a label of 1e-5 may be left out by the one and not by the other
            probability = best[i][0] if i < len(best) else 0
            assert (score or 0) == pytest.approx(probability, abs=1.1e-5), text[:200]
            alike = {other for p, other in best if abs(p - probability) < 2.2e-5}
            assert name in alike or (score or 0) < 2.2e-5 or len(alike) == 3, text[:200]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_library(kind):
    assert_equals_the_library(model_file(kind), [*TEXTS, *ODD_BYTES], characters=None)


def test_lid_176_equals_the_library():
    assert_equals_the_library(installed_model(), [*TEXTS, *ODD_BYTES], characters=None)
    assert_equals_the_library(installed_model(), [text[:2000] for text in TEXTS])
    names = [row["lang"] for row in measured(SENTENCES.values())]
    assert names == [*SENTENCES]


def texts_of(folder: Path) -> Iterator[str]:
    for file in sorted((folder / "docs").glob("*.jsonl.gz")):
        with gzip.open(file) as lines:
            yield from (json.loads(line)["text"] for line in lines)


def test_lid_176_equals_the_library_on_real_text(shared_data):
    assert_equals_the_library(installed_model(), [text[:2000] for text in [*texts_of(shared_data)][::29]])


@pytest.mark.slow
def test_lid_176_equals_the_library_on_every_real_text(shared_data):
    assert_equals_the_library(installed_model(), [*texts_of(shared_data)], characters=None)


def test_texts_score_alike_by_written_out_rows_and_by_codes(monkeypatch):
    written_out = measured(TEXTS)
    monkeypatch.setattr(best_labels, "WRITTEN_OUT_BYTES", 0)
    assert measured(TEXTS) == written_out


def test_only_the_first_characters_are_looked_at():
    text = SENTENCES["de"] + SENTENCES["ru"] * 100
    start = len(SENTENCES["de"])
    assert [measured([text], characters=n)[0]["lang"] for n in (start, None)] == ["de", "ru"]
    assert measured([text])[0] == measured([text[:2000]], characters=None)[0]
    for n in (1, 2, 3, 30, start + 1, start + 2, 2000, len(text), 10**9):
        assert measured([text, "", text], characters=n) == measured([text[:n], "", text[:n]], characters=None)


@pytest.mark.parametrize("characters", [0, -1])
def test_no_characters_are_refused(characters):
    with pytest.raises(ValidationError, match="greater than"):
        Language(characters=characters)


def test_nulls_slices_and_batches_change_nothing():
    texts = [None, *TEXTS, None, "hello"]
    function = Language().open({"model": Path(installed_model())})
    whole = function(documents(texts))
    assert [row["lang"] is None for row in whole.to_pylist()] == [text is None for text in texts]
    assert whole.schema == Language().gives()
    for width in (1, 7, 50):
        parts = [function(documents(texts).slice(i, width)) for i in range(0, len(texts), width)]
        assert pa.Table.from_batches(parts).equals(pa.Table.from_batches([whole]).combine_chunks())
    with ThreadPoolExecutor(4) as pool:
        assert all(result.equals(whole) for result in pool.map(lambda _: function(documents(texts)), range(8)))


def test_nothing_known_is_null_as_the_library_predicts_nothing(tmp_path):
    (tmp_path / "train.txt").write_text(("__label__a " + "kalo " * 9 + "\n" + "__label__b " + "mine " * 9 + "\n") * 9)
    # dim 50: of a matrix of fewer than a hundred numbers the library initialises none
    model = fasttext.train_supervised(str(tmp_path / "train.txt"), minCount=50, dim=50, thread=THREADS, verbose=0)
    model.save_model(str(tmp_path / "m.bin"))
    nothing = dict.fromkeys(Language().gives().names)
    rows = measured(["", "unknown words", "kalo"], tmp_path / "m.bin")
    assert rows[:2] == [nothing, nothing]
    assert {rows[2]["lang"], rows[2]["lang_2"]} == {"a", "b"}


def test_a_model_of_one_label_has_no_second():
    (row,) = measured(["kalo"], model_file("hierarchical softmax, one label"))
    assert row == {"lang": "0", "lang_score": 1.0, "lang_2": None, "lang_2_score": None}


def test_labels_of_equal_probability_come_in_the_order_of_the_model(tmp_path):
    content = bytearray(model_file("one-vs-all").read_bytes())
    labels = Classifier(model_file("one-vs-all")).model.labels.names
    size = Classifier(model_file("one-vs-all")).model.output.nbytes  # the output matrix is the end of the file
    content[-size:] = struct.pack("<f", 0) * (size // 4)
    (tmp_path / "zeros.bin").write_bytes(content)
    for row in measured(["kalo", "mi ne", ""], tmp_path / "zeros.bin"):
        assert [row["lang"], row["lang_2"]] == [label.removeprefix("__label__") for label in labels[:2]]
        assert row["lang_score"] == row["lang_2_score"]


def test_matrices_that_are_not_finite_are_refused(tmp_path):
    for kind in ("words", "one-vs-all", "hierarchical softmax"):
        content = bytearray(model_file(kind).read_bytes())
        size = Classifier(model_file(kind)).model.output.nbytes
        content[-size:] = struct.pack("<f", float("nan")) * (size // 4)
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(RecipeError, match="numbers that are not finite"):
            measured(["kalo"], tmp_path / "model.bin")


def test_options_are_as_declared():
    operator = pickle.loads(pickle.dumps(Language.model_validate("glotlid.bin")))
    assert operator == Language(model="glotlid.bin", characters=2000)
    assert operator.resources() == {"model": "glotlid.bin"}
    assert Language().resources() == {"model": installed_model()}
    assert Language.model_validate({"characters": "10k"}).characters == 10_000
    assert Language().fingerprint({"model": "1"}) == operator.fingerprint({"model": "1"})


@pytest.fixture
def only(monkeypatch):
    """Lets only some packages be installed."""
    installed = language.distribution

    def let(*names):
        def distribution(name):
            if name not in names:
                raise PackageNotFoundError(name)
            return installed(name)

        monkeypatch.setattr(language, "distribution", distribution)

    return let


def test_without_a_package_that_has_the_model_the_recipe_is_refused(only, tmp_path, make_recipe):
    only()
    with pytest.raises(RecipeError, match=r"pip install 'gristmill\[web\]'.*`model: path`"):
        installed_model()
    write_jsonl(tmp_path / "data" / "docs-0.jsonl", [{"id": "a", "text": "hello"}])
    recipe = make_recipe(tmp_path, sources=[{"name": "docs", "path": "data"}], measure=["language"])
    with pytest.raises(RecipeError, match=r"recipe\.yaml:\d+: the measure language has no model"):
        plan_run(load_recipe(str(recipe)))
    assert Language(model="m.bin").resources() == {"model": "m.bin"}


def test_the_model_is_found_without_loading_a_package(only):
    only(next(iter(PACKAGES)))
    path = Path(installed_model())
    assert path.name == "lid.176.ftz"
    assert Classifier(path).labels[:2] == ["__label__en", "__label__ru"]
