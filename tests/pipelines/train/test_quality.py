import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import fasttext
import numpy as np
import psutil
import pyarrow as pa
import pytest
from rich.console import Console

from gristmill.operators.errors import RecipeError
from gristmill.operators.fasttext.classifier import Classifier
from gristmill.pipelines.report.console.training import show_training
from gristmill.pipelines.train.fasttext import TrainingArguments
from gristmill.pipelines.train.quality import one_line, train_quality
from gristmill.pipelines.train.report import average_precision, roc_auc, threshold_rows
from tests.support import write_jsonl

SMALL = {"dim": 8, "buckets": 2000, "min_count": 1, "holdout": 0.25}
GOOD = ["river", "stone", "light", "morning", "letter", "engine", "signal", "market"]
BAD = ["click", "cheap", "offer", "prize", "winner", "bonus", "casino", "lottery"]
SHARED = ["the", "and", "of", "it", "is", "for", "that", "with"]


def documents(kind, n, seed=0):
    """n documents that are easily told from the other kind's, but for every tenth."""
    draw = random.Random(f"{kind} {seed}")
    own, other = (GOOD, BAD) if kind == "good" else (BAD, GOOD)
    texts = [draw.choices(other if i % 10 == 9 else own, k=6) + draw.choices(SHARED, k=20) for i in range(n)]
    return [{"id": f"{kind}-{i}", "text": "\n".join(words)} for i, words in enumerate(texts)]


def reader(corpus, rows=7):
    """A reader of documents that are held in a dict by path."""

    def read(paths, text, id):
        found = [document for path in paths for document in corpus[path]]
        for i in range(0, len(found), rows):
            part = found[i : i + rows]
            yield pa.record_batch(
                {
                    "id": pa.array([d[id] for d in part], pa.string()),
                    "text": pa.array([d[text] for d in part], pa.large_string()),
                }
            )

    return read


@pytest.fixture
def corpus():
    return {"good": documents("good", 300), "bad": documents("bad", 200)}


def test_trains_reports_and_writes_all_three(corpus, tmp_path):
    out = tmp_path / "models" / "quality.bin"
    report = train_quality(["good"], ["bad"], str(out), read=reader(corpus), **SMALL)

    assert report.positive.trained + report.positive.held_out == 300
    assert report.negative.trained + report.negative.held_out == 200
    assert 0.15 < report.positive.held_out / 300 < 0.35
    assert report.positive.held_out + report.negative.held_out < 200
    assert report.auc > 0.8
    assert 0 < len(report.mistakes) <= 20
    assert all((m.probability >= 0.5) == (m.label == "__label__lq") for m in report.mistakes)
    assert all(int(m.id.split("-")[1]) % 10 == 9 for m in report.mistakes)  # the ones that were made hard

    assert sorted(p.name for p in out.parent.iterdir()) == [
        "quality.bin",
        "quality.bin.report.json",
        "quality.bin.report.md",
    ]
    written = json.loads(Path(f"{out}.report.json").read_text())
    assert written == json.loads(json.dumps(report.as_json()))
    page = Path(f"{out}.report.md").read_text()
    assert f"AUC {report.auc:.4f}" in page
    assert report.mistakes[0].excerpt in page


def test_the_report_is_about_the_model_and_documents_it_has_not_learnt(corpus, tmp_path):
    out = str(tmp_path / "quality.bin")
    report = train_quality(["good"], ["bad"], out, read=reader(corpus), **SMALL)
    model = fasttext.load_model(out)
    texts = {d["id"]: d["text"] for d in corpus["good"] + corpus["bad"]}
    for mistake in report.mistakes:
        labels, probabilities = model.predict(texts[mistake.id].replace("\n", " "), k=2)
        assert dict(zip(labels, probabilities, strict=True))["__label__hq"] == pytest.approx(
            mistake.probability, abs=2e-5
        )
    seen = model.f.getVocab("strict")[1]
    assert sum(seen) == 27 * (report.positive.trained + report.negative.trained)  # 26 words and the end of the line


def test_same_documents_same_bytes_however_they_come(corpus, tmp_path):
    first, second, other = (tmp_path / f"{name}.bin" for name in ("first", "second", "other"))
    train_quality(["good"], ["bad"], str(first), read=reader(corpus), **SMALL)
    shuffled = {"a": corpus["good"][100:], "b": corpus["good"][:100], "c": corpus["bad"][::-1]}
    train_quality(["b", "a"], ["c"], str(second), read=reader(shuffled, rows=64), **SMALL)
    assert first.read_bytes() == second.read_bytes()
    reports = [Path(f"{path}.report.json").read_text().replace(path.name, "") for path in (first, second)]
    assert reports[0] == reports[1]
    train_quality(["good"], ["bad"], str(other), read=reader(corpus), seed=1, **SMALL)
    assert first.read_bytes() != other.read_bytes()


def test_reads_files_with_other_fields_and_labels(corpus, tmp_path):
    for kind in ("good", "bad"):
        renamed = [{"key": d["id"], "body": d["text"]} for d in corpus[kind]]
        write_jsonl(tmp_path / f"{kind}-0.jsonl.gz", renamed[:90])
        write_jsonl(tmp_path / f"{kind}-1.jsonl", renamed[90:])
    out = str(tmp_path / "m.bin")
    labels = {"positive_label": "__label__yes", "negative_label": "__label__no"}
    report = train_quality([f"{tmp_path}/good-*"], [f"{tmp_path}/bad-*"], out, text="body", id="key", **labels, **SMALL)
    assert sorted(Classifier(Path(out)).labels) == ["__label__no", "__label__yes"]
    assert (report.positive.label, report.negative.label) == ("__label__yes", "__label__no")


def test_words_that_are_labels_are_not_taken_for_the_documents_own(corpus, tmp_path):
    for document in corpus["bad"]:
        document["text"] = "__label__hq __label__new " + document["text"] + " </s> __label__hq"
    out = tmp_path / "m.bin"
    report = train_quality(["good"], ["bad"], str(out), read=reader(corpus), **SMALL)
    assert sorted(Classifier(out).labels) == ["__label__hq", "__label__lq"]
    assert report.auc > 0.8


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"", b""),
        (b" \n\0\t", b""),
        (b"one\ntwo\r\nthree\0four ", b"one two  three four"),
        (b"a __label__x b__label__ </s>c", b"a b__label__ </s>c"),
        (b"a </s> b", b"a"),
        ("naïve\u00a0文".encode(), "naïve\u00a0文".encode()),
    ],
)
def test_one_line(text, line):
    assert one_line(text) == line


def test_duplicates_and_empty_documents_are_counted_and_left_out(corpus, tmp_path):
    corpus["good"] += [
        {"id": "again", "text": corpus["good"][0]["text"].replace("\n", " ")},
        {"id": "e", "text": " \n"},
    ]
    corpus["good"] += [{"id": "none", "text": None}]
    report = train_quality(["good"], ["bad"], str(tmp_path / "m.bin"), read=reader(corpus), **SMALL)
    assert (report.positive.duplicates, report.positive.empty) == (1, 2)
    assert report.positive.trained + report.positive.held_out == 300


def test_documents_on_both_sides_are_refused(corpus, tmp_path):
    corpus["bad"] += corpus["good"][5:7]
    with pytest.raises(RecipeError, match="2 documents are both positive and negative, such as good-"):
        train_quality(["good"], ["bad"], str(tmp_path / "m.bin"), read=reader(corpus), **SMALL)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("texts", [[], ["", " "], ["alone"]])
def test_a_side_that_is_empty_or_too_small_is_refused(texts, corpus, tmp_path):
    corpus["bad"] = [{"id": str(i), "text": text} for i, text in enumerate(texts)]
    with pytest.raises(RecipeError, match=r"negative documents \(bad\): [01] different ones"):
        train_quality(["good"], ["bad"], str(tmp_path / "m.bin"), read=reader(corpus), **SMALL)


def test_a_path_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="nothing-here"):
        train_quality([f"{tmp_path}/nothing-here-*.jsonl"], ["x"], str(tmp_path / "m.bin"))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"holdout": 0.0}, "holdout is 0.0"),
        ({"holdout": 1.0}, "holdout is 1.0"),
        ({"dim": 0}, "dim is 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"positive_label": "good"}, "'good' is not a word that begins with __label__"),
        ({"positive_label": "__label__a b"}, "is not a word"),
        ({"positive_label": "__label__lq"}, "both kinds of documents have the label __label__lq"),
        ({"min_count": 100_000}, "no word occurs 100000 times in the documents; lower min_count"),
        ({"learning_rate": 1e30}, "cannot train at learning rate"),
    ],
)
def test_wrong_numbers_and_labels_are_refused(options, found, corpus, tmp_path):
    with pytest.raises(RecipeError, match=found):
        train_quality(["good"], ["bad"], str(tmp_path / "m.bin"), read=reader(corpus), **SMALL | options)
    assert list(tmp_path.iterdir()) == []


def test_measures_equal_their_definitions():
    generator = np.random.default_rng(3)
    for digits in (1, 2, 6):  # with many ties, few, none
        positives = generator.normal(0.6, 0.2, 40).round(digits)
        negatives = generator.normal(0.4, 0.2, 70).round(digits)
        pairs = [(p > n) + (p == n) / 2 for p in positives for n in negatives]
        assert roc_auc(positives, negatives) == pytest.approx(np.mean(pairs), abs=1e-12)

        area = recall = 0.0
        for threshold in sorted({*positives, *negatives}, reverse=True):
            right, wrong = (positives >= threshold).sum(), (negatives >= threshold).sum()
            area += (right / 40 - recall) * right / (right + wrong)
            recall = right / 40
        assert average_precision(positives, negatives) == pytest.approx(area, abs=1e-12)

        for row in threshold_rows(positives, negatives):
            right, wrong = sum(p >= row.threshold for p in positives), sum(n >= row.threshold for n in negatives)
            assert row.recall == right / 40
            assert row.kept == (right + wrong) / 110
            assert row.precision == (right / (right + wrong) if right + wrong else None)


def test_the_report_can_be_shown(corpus, tmp_path):
    corpus["bad"][9]["text"] += "\n[red]markup[/nothing]"
    report = train_quality(["good"], ["bad"], str(tmp_path / "m.bin"), read=reader(corpus), **SMALL)
    console = Console(width=160, record=True, file=io.StringIO())
    show_training(report, "m.bin.report.html", console)
    shown = console.export_text()
    assert f"AUC {report.auc:.4f}" in shown
    assert "Most confident mistakes" in shown
    assert report.mistakes[0].id in shown
    assert "the page m.bin.report.html has more" in shown


@pytest.mark.parametrize(("repeats", "says"), [((1, 1), ""), ((4, 1), "longer"), ((1, 4), "shorter")])
def test_a_report_says_where_length_alone_tells_the_kinds_apart(corpus, tmp_path, repeats, says):
    for kind, times in zip(("good", "bad"), repeats, strict=True):
        for document in corpus[kind]:
            document["text"] = " ".join([document["text"]] * times)
    out = tmp_path / "m.bin"
    report = train_quality(["good"], ["bad"], str(out), read=reader(corpus), **SMALL)
    console = Console(width=300, record=True, file=io.StringIO())
    show_training(report, None, console)
    shown, page = console.export_text(), Path(f"{out}.report.md").read_text()
    expected = f"length alone tells the two kinds apart: a positive document is {says} than a negative one 100%"
    for text in (shown, page, " ".join(report.as_json()["warnings"])):
        assert (expected in text) is bool(says)
    assert report.length_auc == pytest.approx({"": 0.5, "longer": 1, "shorter": 0}[says], abs=0.2)
    assert "by length alone the AUC would be " in shown


def test_training_ends_with_the_process_that_asked_for_it(tmp_path):
    (tmp_path / "train.txt").write_text("__label__a some words\n__label__b other words\n" * 200)
    arguments = TrainingArguments(100, 2, 10_000_000, 0.1, 1, 1000, 0, 1)
    program = (
        "from pathlib import Path; from gristmill.pipelines.train.fasttext import *; "
        f"train_model(Path({str(tmp_path / 'train.txt')!r}), Path({str(tmp_path / 'm.bin')!r}), {arguments!r})"
    )
    asking = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
    try:
        training = wait_for(lambda: psutil.Process(asking.pid).children())
        asking.send_signal(signal.SIGKILL)
        asking.wait()
        wait_for(lambda: not psutil.pid_exists(training[0].pid) or training[0].status() == psutil.STATUS_ZOMBIE)
    finally:
        asking.kill()


def wait_for(condition, seconds=60):
    """The first true value of a condition; fails if there is none for a minute."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("failures", [1, 3, 4])
def test_where_fasttext_meets_nan_it_is_tried_again_at_a_lower_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    from gristmill.pipelines.train import fasttext as training

    attempt, tried = training._attempt, []

    def failing(lines: Path, model: Path, arguments: training.TrainingArguments) -> tuple[int, str]:
        tried.append((arguments.learning_rate, arguments.seed))
        if len(tried) > failures:
            return attempt(lines, model, arguments)
        model.write_bytes(b"half of a model")
        return 1, "Encountered NaN."

    monkeypatch.setattr(training, "_attempt", failing)
    lines = tmp_path / "train.txt"
    lines.write_text("".join(f"__label__{i % 2} word{i % 2} and more\n" for i in range(200)))
    arguments = training.TrainingArguments(4, 1, 5, 0.8, 1, 100, 7, 1)
    if failures == training.ATTEMPTS:
        with pytest.raises(RecipeError, match=r"learning rate 0.8, nor at 3 lower ones down to 0.1"):
            training.train_model(lines, tmp_path / "m.bin", arguments)
        return
    trained = training.train_model(lines, tmp_path / "m.bin", arguments)
    assert tried == [(0.8 / 2**i, 7 + i) for i in range(failures + 1)]
    assert (trained.learning_rate, trained.seed) == tried[-1]
    assert fasttext.load_model(str(tmp_path / "m.bin")).predict("word1")[0] == ("__label__1",)
