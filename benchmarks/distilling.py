"""Students of labels: accuracy on real labels, and the speed of the measure `distilled` beside `quality`.

    python -m benchmarks.distilling

Accuracy is that on the test parts of AG News and IMDB, learnt from the train parts of the shared data; the fasttext
library with its own defaults but 2-grams and 5 epochs at a rate of 0.5 learns from all of them. A class of 5 % shows
what balance and the shift of calibration are worth, and labels by similarity how often they are right. Speed is per
core, measures of one column each, the models of two labels and of six beside a fastText model of 100 dimensions.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import fasttext
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import bench_texts, median_seconds, print_table, size_of
from benchmarks.corpus import DATA
from benchmarks.end_to_end import model
from benchmarks.loop import LABELS, RARE
from benchmarks.loop import examples as thinned
from gristmill import api
from gristmill.operators.base import Measure
from gristmill.operators.label.similarity import LabelMeanings
from gristmill.operators.measures.distilled import Distilled
from gristmill.operators.measures.quality import Quality
from gristmill.operators.student.calibration import Calibration
from gristmill.operators.student.features import Ngrams
from gristmill.operators.student.linear import Student
from gristmill.operators.student.student import CALIBRATION
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.train.distil import Options, prepared
from gristmill.pipelines.train.evaluation import calibration_error, f1
from gristmill.pipelines.train.examples import examples_of_table
from gristmill.pipelines.train.fasttext_lesson import FastTextLesson
from gristmill.pipelines.train.report import average_precision
from gristmill.pipelines.train.split import Split

DEFINITIONS = {
    "agnews": {
        "World": "international politics, governments, wars, elections, countries, ministers and presidents",
        "Sports": "games, matches, teams, players, coaches, championships and scores",
        "Business": "companies, markets, stocks, profits, oil prices, economy and banks",
        "Sci/Tech": "science, technology, computers, software, internet, space and research",
    },
    "imdb": {
        "neg": "a bad, boring, awful movie, the worst waste of time",
        "pos": "a great, wonderful, excellent movie, one of the best, highly recommended",
    },
}


def by_fasttext(name: str, folder: Path) -> tuple[float, float]:
    """Accuracy of the library on the test part, and seconds of training."""
    sides = {}
    for part in ("train", "test"):
        table = pq.read_table(DATA / "labelled" / f"{name}_{part}.parquet")
        pairs = zip(table["label"].to_pylist(), table["text"].to_pylist(), strict=True)
        sides[part] = [f"__label__{label} {' '.join(text.split())}" for label, text in pairs]
    path = folder / "train.txt"
    path.write_text("\n".join(sides["train"]) + "\n")
    start = time.perf_counter()
    learnt = fasttext.train_supervised(str(path), wordNgrams=2, epoch=5, lr=0.5, thread=1, verbose=0)
    seconds = time.perf_counter() - start
    lines = [line.split(" ", 1) for line in sides["test"]]
    answers, _ = learnt.predict([text for _, text in lines])
    return float(np.mean([answer[0] == label for answer, (label, _) in zip(answers, lines, strict=True)])), seconds


def students(folder: Path) -> None:
    """Print accuracy, calibration error before and after, and seconds, by data set and way to learn.

    Beside them the accuracy of fastText students of three seeds that learn from all texts, with none to calibrate with.
    """
    rows: list[list[object]] = []
    for name in ("agnews", "imdb"):
        paths = {part: str(DATA / "labelled" / f"{name}_{part}.parquet") for part in ("train", "test")}
        out, about = str(folder / f"{name}.bin"), {"table": paths["train"], "test": paths["test"]}
        for way in ("linear", "fasttext"):
            start = time.perf_counter()
            report = api.distil(out, **about, label="label_name", student=way)
            seconds = time.perf_counter() - start
            test, told = report["test"], report["test"]["calibration"]
            rows.append([name, way, report["examples"]["learnt"], test["accuracy"]])
            rows[-1] += [told["ece_before"], told["ece"], seconds]
        rate = report["training"]["learning_rate"]
        for seed in range(3):
            learnt, accuracy = of_all_texts(paths, rate, seed, folder)
            rows.append([name, f"fasttext, all texts, seed {seed}", learnt, accuracy, "-", "-", "-"])
        accuracy, seconds = by_fasttext(name, folder)
        rows.append([name, "the fasttext library", learnt, accuracy, "-", "-", seconds])
    print_table(["data", "student", "learnt from", "accuracy", "ECE before", "ECE", "s"], rows)


def of_all_texts(paths: Mapping[str, str], rate: float, seed: int, folder: Path) -> tuple[int, float]:
    """Return the number of texts of the train part, and the accuracy of a fastText student of them on the test part."""
    learnt, tested = (examples_of_table(paths[part], "text", "label_name", None, (), False) for part in paths)
    nobody = np.zeros(len(learnt.ids), np.int64)
    lesson = FastTextLesson(Split(learnt, nobody, nobody, ()), False, Ngrams(2, 1 << 18), seed, folder)
    scores = lesson.fit(np.arange(len(learnt.ids)), rate).student.scores(tested.texts)
    return len(learnt.ids), float((scores.argmax(axis=1) == tested.targets.argmax(axis=1)).mean())


def noisy_labels(folder: Path) -> None:
    """Print accuracy and calibration error of students of 5,000 texts of AG News, 15 % of whose labels are wrong."""
    table, test = (pq.read_table(DATA / "labelled" / f"agnews_{part}.parquet") for part in ("train", "test"))
    paths = {part: str(folder / f"{part}.parquet") for part in "lt"}
    pq.write_table(pa.table({"text": test["text"], "label": test["label"]}), paths["t"])
    rows: list[list[object]] = []
    for seed in range(3):
        draw = np.random.default_rng(seed)
        learnt = table.take(pa.array(draw.permutation(table.num_rows)[:5000]))
        labels, wrong = learnt["label"].to_numpy(), draw.random(5000) < 0.15
        labels = np.where(wrong, (labels + draw.integers(1, 4, 5000)) % 4, labels)
        pq.write_table(pa.table({"text": learnt["text"], "label": labels}), paths["l"])
        rows.append([seed, 1 - wrong.mean()])
        for correct in ("auto", "never"):
            out = str(folder / "noisy.bin")
            report = api.distil(out, table=paths["l"], test=paths["t"], correct=correct)
            rows[-1] += [report["test"]["accuracy"], report["test"]["calibration"]["ece"]]
    print_table(["seed", "labels right", "student", "ECE", "of what is given", "ECE"], rows)


def rare_label() -> None:
    """Print figures of a class of 5 % of AG News with and without `--balance`, means of three seeds.

    Beside them those of one temperature alone, without the slope and the offset of each label.
    """
    test, rows = thinned("test"), []
    rare = LABELS.index(RARE)
    for taught in (500, 1000, 3000):
        for balance in (False, True):
            figures = []
            for seed in range(3):
                pool = thinned("train", seed)
                some = pool.take(np.random.default_rng(seed).permutation(len(pool.ids))[:taught])
                options = Options(correct="never", balance=balance)
                lesson, _ = prepared(some, None, options, Reporter(quiet=True))
                _, fitted, calibration = lesson.best(options.method, None, lambda: None)
                known = [LABELS.index(label) for label in fitted.student.labels]
                scores, positive = fitted.student.scores(test.texts), test.targets[:, rare] > 0
                row = []
                for made in (calibration, calibration._replace(shift=None)):
                    shares = np.zeros((len(scores), len(LABELS)))
                    shares[:, known] = made.probabilities(scores, True)
                    row += [f1(positive, shares.argmax(axis=1) == rare), calibration_error(shares, test.targets, True)]
                    precision = average_precision(shares[positive, rare], shares[~positive, rare])
                figures.append([precision, *row])
            rows.append([taught, "yes" if balance else "no", *np.mean(figures, axis=0).tolist()])
    heads = ["labels", "balanced", "average precision", "F1", "ECE", "F1, temperature alone", "ECE"]
    print_table(heads, rows)


def similarity() -> None:
    """Print how often `engine: similarity` is right about test texts, with what it abstains from on the train part."""
    rows: list[list[object]] = []
    for name, definitions in DEFINITIONS.items():
        sides = {part: pq.read_table(DATA / "labelled" / f"{name}_{part}.parquet") for part in ("train", "test")}
        texts = {part: side["text"].combine_chunks().cast(pa.large_string()) for part, side in sides.items()}
        for abstain in (0.0, 0.2):
            answers = LabelMeanings.learn(definitions, texts["train"], abstain).answers(texts["test"])
            pairs = zip(answers, sides["test"]["label_name"].to_pylist(), strict=True)
            said = [answer == label for answer, label in pairs if answer is not None]
            rows.append([name, abstain, len(said) / len(answers), float(np.mean(said))])
    print_table(["data", "abstain", "answered", "right"], rows)


def speed(folder: Path) -> None:
    """Print MB/s per core of each measure."""
    draw, ngrams = np.random.default_rng(0), Ngrams(2, 1 << 18)
    measures: dict[str, Measure] = {"quality, 100 dimensions": Quality(model=str(model()))}
    for labels in (("no", "yes"), tuple("012345")):
        weights = draw.normal(0, 1, (1 if len(labels) == 2 else len(labels), ngrams.buckets))
        path = folder / f"{len(labels)}.bin"
        path.write_bytes(Student("choice", labels, ngrams, weights, weights[:, 0], weights[0]).to_bytes())
        Path(f"{path}{CALIBRATION}").write_text(json.dumps(Calibration("temperature", 1.5).to_json()))
        measures[f"distilled, {len(labels)} labels"] = Distilled(model=str(path), label=labels[-1])
    path = folder / "fasttext.bin"
    table, about = str(DATA / "labelled" / "imdb_train.parquet"), {"label": "label_name", "correct": "never"}
    api.distil(str(path), table=table, **about, student="fasttext")
    measures["distilled, fastText, 2 labels"] = Distilled(model=str(path), label="pos")
    texts = bench_texts(16)
    batch, size, rows = pa.record_batch({"text": texts}), size_of(texts) / 1e6, []
    for name, measure in measures.items():
        function = measure.open({key: Path(path) for key, path in measure.resources().items()})
        rows.append([name, size / median_seconds(lambda function=function: function(batch))])
    print_table(["measure", "MB/s per core"], rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        students(Path(folder))
        noisy_labels(Path(folder))
        print()
        rare_label()
        print()
        similarity()
        print()
        speed(Path(folder))


if __name__ == "__main__":
    main()
