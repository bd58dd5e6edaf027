"""Samplers of `gristmill loop` beside random texts: labels needed for the same F1 on a rare class.

    python -m benchmarks.loop [--plot FILE.svg]

The texts are those of the train part of AG News, of whose class Sports only so many are left that it is 5 % of all. A
teacher answers with soft labels: those of a small student, with as much weight on the right label that about nine of
ten answers are right, and it is surer of some texts than of others. A sampler and as many random texts are labelled in
rounds; F1 of the rare class is that of the students of either side on the official test part, thinned likewise. Figures
are over five seeds. Labels saved: of those that random texts take for the F1 that they end with, the share that the
sampler does not take.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from leather import Chart

from benchmarks.common import print_table
from benchmarks.corpus import DATA
from gristmill.operators.label.contract import Completion, Question, Reply
from gristmill.operators.label.prompt import Estimate
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.student.samplers import SAMPLERS
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.label.documents import source_of
from gristmill.pipelines.label.run import scan_some
from gristmill.pipelines.label.task import load_task
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.train.distil import Options, prepared
from gristmill.pipelines.train.evaluation import f1
from gristmill.pipelines.train.loop import LoopOptions, loop
from gristmill.pipelines.train.loop_state import FIRST, RANDOM, SAMPLED, LoopState
from gristmill.pipelines.train.split import Examples

RARE, SHARE = "Sports", 0.05
LABELS = ("World", "Sports", "Business", "Sci/Tech")
SEEDS, ROUNDS, BUDGET = 5, 10, 2500
TAUGHT, BOOST = 500, 2.5  # texts that the teacher learnt from, and what the right label adds to its logarithms
QUIET = Reporter(quiet=True)
COLOURS = ("#c0392b", "#2980b9", "#27ae60", "#8e44ad", "#d35400", "#2c3e50")


def examples(part: str, seed: int = 0) -> Examples:
    """Texts of a part of AG News, of the rare class SHARE."""
    table = pq.read_table(DATA / "labelled" / f"agnews_{part}.parquet")
    texts, names = table["text"].to_pylist(), table["label_name"].to_pylist()
    order = np.random.default_rng(seed).permutation(len(texts)).tolist()
    rare = [i for i in order if names[i] == RARE]
    others = [i for i in order if names[i] != RARE]
    kept = sorted(others + rare[: round(len(others) * SHARE / (1 - SHARE))])
    targets = np.array([[float(label == names[i]) for label in LABELS] for i in kept])
    column = pa.array([texts[i] for i in kept], pa.large_string())
    return Examples("choice", LABELS, [str(i) for i in kept], column, targets)


def student(taught: Examples, texts: pa.LargeStringArray) -> np.ndarray:
    """Probabilities of labels by a student of examples."""
    lesson, _ = prepared(taught, None, Options(), QUIET)
    _, fitted, calibration = lesson.best("temperature", None, lambda: None)
    shares = np.zeros((len(texts), len(LABELS)))
    columns = [LABELS.index(label) for label in fitted.student.labels]
    shares[:, columns] = calibration.probabilities(fitted.student.scores(texts), True)
    return shares


class Teacher:
    """An asker that knows the soft label of each text."""

    def __init__(self, pool: Examples, seed: int) -> None:
        table = pq.read_table(DATA / "labelled" / "agnews_test.parquet")
        some = np.random.default_rng(seed).permutation(table.num_rows)[:TAUGHT]
        names = table["label_name"].take(pa.array(some)).to_pylist()
        targets = np.array([[float(label == name) for label in LABELS] for name in names])
        texts = table["text"].take(pa.array(some)).combine_chunks().cast(pa.large_string())
        weak = student(Examples("choice", LABELS, [str(i) for i in some], texts, targets), pool.texts)
        logs = np.log(np.maximum(weak, 1e-6)) + BOOST * pool.targets
        shares = np.exp(logs - logs.max(axis=1, keepdims=True))
        self.shares = shares / shares.sum(axis=1, keepdims=True)
        self.right = float((self.shares.argmax(axis=1) == pool.targets.argmax(axis=1)).mean())
        self.revision, self.tokenizer = f"seed {seed}", Estimate()
        self._places = {key: i for i, key in enumerate(content_ids(pool.texts).to_pylist())}

    def answer(self, batches: Iterable[Sequence[Question]]) -> Generator[Sequence[Reply]]:
        """Yield replies to all questions."""
        for questions in batches:
            yield [self._reply(question) for question in questions]

    def close(self) -> None:
        """Release nothing."""

    def _reply(self, question: Question) -> Reply:
        shares = self.shares[self._places[question.key]]
        codes = "ABCD"
        slot = {code: float(np.log(max(share, 1e-9))) for code, share in zip(codes, shares, strict=True)}
        code = codes[int(shares.argmax())]
        return Reply(question.key, Completion(code, (slot,), slot[code], 0, 0))


def curves(sampler: str, seed: int, test: Examples, folder: Path) -> tuple[list[dict], float]:
    """F1 of both sides by their labels after each round, and how often the teacher is right."""
    pool = examples("train", seed)
    pq.write_table(pa.table({"id": pool.ids, "text": pool.texts}), folder / "texts.parquet")
    task = {"version": 1, "name": "news", "instruction": "Which topic?", "answer": {"choice": list(LABELS)}}
    task["annotators"] = [{"name": "teacher", "engine": "keywords", "words": {"World": ["x"]}}]
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    loaded, teacher = load_task(str(folder / "task.yaml")), Teacher(pool, seed)
    engine = open_engine("local", None)
    documents = scan_some(source_of(str(folder / "texts.parquet"), "input", "text", "id", None), engine, QUIET)
    options = LoopOptions(ROUNDS, BUDGET, sampler, RARE, seed=seed)
    out = str(folder / "student.bin")
    place = str(folder / "store")
    loop(loaded, place, documents, out, options, engine, QUIET, lambda plan: True, {}, lambda *_: teacher)
    engine.close()
    state = LoopState(f"{out}.loop")
    parts: dict[str, list[bytes]] = {FIRST: [], SAMPLED: [], RANDOM: []}
    places = {key: i for i, key in enumerate(content_ids(pool.texts).to_pylist())}
    rows = []
    for number in range(1, ROUNDS + 1):
        for row in state.choice(number).to_pylist():
            parts.setdefault(row["part"], []).append(row["content_id"])
        figures: dict = {"measure": f"F1 of {RARE}"}
        for side in (SAMPLED, RANDOM):
            which = np.array(sorted({places[key] for key in [*parts[FIRST], *parts[side]]}))
            soft = Examples("choice", LABELS, pool.ids, pool.texts, teacher.shares).take(which)
            drawn = {places[key] for key in [*parts[FIRST], *(parts[RANDOM] if side == RANDOM else [])]}
            soft = Examples(**{**vars(soft), "at_random": np.array([i in drawn for i in which.tolist()])})
            answers = student(soft, test.texts).argmax(axis=1) == LABELS.index(RARE)
            figures[f"{side}_labels"] = len(which)
            figures[side] = f1(test.targets[:, LABELS.index(RARE)] > 0, answers)
        rows.append(figures)
    return rows, teacher.right


def saved(rows: list[dict]) -> float:
    """Share of the random labels that the sampler needs not for the same F1; NaN where it never has that."""
    goal, most = rows[-1][RANDOM], rows[-1][f"{RANDOM}_labels"]
    reached = next((row[f"{SAMPLED}_labels"] for row in rows if row[SAMPLED] >= goal), None)
    return float("nan") if reached is None else 1 - reached / most


def draw_plot(every: dict[str, list[list[dict]]], path: Path) -> None:
    """Write the mean F1 of each sampler, and of random texts, by labels."""
    chart = Chart(f"F1 of {RARE} (5 %) by labels, mean of {SEEDS} seeds")
    lines = {name: (SAMPLED, of_seeds) for name, of_seeds in every.items()}
    lines["random"] = (RANDOM, [rows for of_seeds in every.values() for rows in of_seeds])
    for (name, (side, of_seeds)), colour in zip(lines.items(), COLOURS, strict=False):
        points = [
            tuple(float(np.mean([row[key] for row in rows])) for key in (f"{side}_labels", side))
            for rows in zip(*of_seeds, strict=True)
        ]
        chart.add_line(points, name=name, stroke_color=colour)
    chart.add_x_scale(0, 1200)
    chart.add_y_scale(0, 0.8)
    path.write_text(chart.to_svg(width=720, height=440))


def main() -> None:
    """Print the table; write the plot."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--samplers", nargs="*", default=[*SAMPLERS])
    options = parser.parse_args()
    test, table, every = examples("test"), [], {}
    for sampler in options.samplers:
        every[sampler], right = [], []
        for seed in range(SEEDS):
            with tempfile.TemporaryDirectory() as folder:
                rows, share = curves(sampler, seed, test, Path(folder))
            every[sampler].append(rows)
            right.append(share)
        last, shares = [rows[-1] for rows in every[sampler]], [saved(rows) for rows in every[sampler]]
        spread = [
            f"{np.mean(f1s):.3f} ± {np.std(f1s):.3f}" for f1s in ([r[s] for r in last] for s in (SAMPLED, RANDOM))
        ]
        fewer = f"{np.nanmean(shares):.0%} ({np.nanmin(shares):.0%} to {np.nanmax(shares):.0%})"
        table.append([sampler, *spread, fewer, int(np.isfinite(shares).sum()), f"{np.mean(right):.1%}"])
    labels = f"F1 with {last[0][f'{RANDOM}_labels']:,} labels"
    print_table(["sampler", labels, "random", "labels saved", "in seeds", "teacher right"], table)
    if options.plot is not None:
        draw_plot(every, options.plot)


if __name__ == "__main__":
    main()
