"""What buckets, smoothing and length do to a selection: the tables of docs/importance.md.

    python -m benchmarks.importance_table [--write docs/importance.md]

For each task (importance_tasks.py) and each setting: fit, weigh, select by Gumbel top-k, ten seeds.
Takes about ten minutes. With --write the tables replace what stands between the markers of that file.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.common import print_table
from benchmarks.importance_tasks import Task, tasks, two_groups
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.kernels.noise import gumbel
from gristmill.operators.measures.content_id import content_ids
from gristmill.operators.measures.importance import Importance, Target
from gristmill.operators.measures.importance_fit import ImportanceFit, estimate, kl_reduction

BUCKETS = (10_000, 131_072, 262_144, 1_048_576)
SMOOTHING = ("reference", 0.01, 0.1, 0.2, 0.5)
LENGTHS = ("sum", "sqrt", "mean")
SEEDS = range(10)
#: Distinct words are counted among so many, drawn from a selection: in more text there are more.
WORDS = 5_000
BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"

Setting = tuple[int, float | str, str]


@dataclass(frozen=True)
class Selection:
    """What one task's selections by one setting are like: means over the seeds."""

    score: float  #: share of the selected documents that are wanted
    distinct: float  #: share of distinct words
    repeated: float  #: share of selected documents whose words another selected document repeats
    words: float  #: median words in a document
    kl_reduction: float
    effective: float  #: effective sample size of the weights over the raw documents


def weighted(task: Task) -> Iterator[tuple[Setting, Importance, ImportanceFit, NDArray[np.float64]]]:
    """The weights of a task's raw documents by every setting."""
    raw, target = (pa.record_batch({"text": texts}) for texts in (task.raw, task.target))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fit.bin"
        for buckets in BUCKETS:
            file.write_bytes(Importance(target="", buckets=buckets).fit([raw], {"target": [target]}))
            counts = ImportanceFit.read(file)
            grams = ngrams_in(raw, file, buckets)
            for smoothing in SMOOTHING:
                fit = estimate(counts.raw, counts.targets, counts.proportions, smoothing)  # type: ignore[arg-type]
                file.write_bytes(fit.to_bytes())
                operator = Importance(target="", buckets=buckets, smoothing=smoothing)
                sums = operator.open({"fit": file})(raw)["importance"].to_numpy()
                for length, divisor in {"sum": 1.0, "sqrt": np.sqrt(grams), "mean": grams}.items():
                    yield (buckets, smoothing, length), operator, fit, sums / divisor


def ngrams_in(documents: pa.RecordBatch, fit: Path, buckets: int) -> NDArray[np.float64]:
    """n-grams in each document: how often its sum holds its mean."""
    fields = {"target": "", "buckets": buckets}
    total, mean = (
        Importance(**fields, length=length).open({"fit": fit})(documents)["importance"].to_numpy()  # type: ignore[arg-type]
        for length in ("sum", "mean")
    )
    return np.divide(total, mean, out=np.ones(len(mean)), where=mean != 0)


def drawn(weights: NDArray[np.float64], noise: NDArray[np.float64], budget: int) -> NDArray[np.int64]:
    """Rows of the `budget` largest keys."""
    return np.argsort(-(weights + noise), kind="stable")[:budget]


def assess(
    task: Task,
    operator: Importance,
    fit: ImportanceFit,
    weights: NDArray[np.float64],
    noises: list[NDArray[np.float64]],
) -> Selection:
    """The selections by given weights, one for each seed."""
    selections = [drawn(weights, noise, task.budget) for noise in noises]
    first = task.raw.take(pa.array(selections[0]))
    split = [re.findall(r"\w+", text.lower()) for text in first.to_pylist()]
    words = list(itertools.chain(*split))
    some = np.random.default_rng(0).permutation(len(words))[:WORDS]
    return Selection(
        score=fmean(task.wanted[rows].mean() for rows in selections),
        distinct=len({words[i] for i in some}) / len(some),
        repeated=1 - len({tuple(s) for s in split}) / len(split),
        words=float(np.median([len(s) for s in split])),
        kl_reduction=kl_reduction(fit, operator.observe(pa.record_batch({"text": first}))),
        effective=effective_size(weights),
    )


def effective_size(log_weights: NDArray[np.float64]) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965)."""
    weights = np.exp(log_weights - log_weights.max())
    return float(weights.sum() ** 2 / (weights**2).sum())


def measure_all() -> tuple[dict[str, dict[Setting, Selection]], dict[str, float]]:
    """Selections by task and setting, and the share of wanted documents in each task's raw corpus."""
    results: dict[str, dict[Setting, Selection]] = {}
    shares = {}
    for task in tasks():
        ids = id_words(content_ids(task.raw))
        noises = [gumbel(seed, ids) for seed in SEEDS]
        results[task.name] = {setting: assess(task, *rest, noises) for setting, *rest in weighted(task)}
        shares[task.name] = float(task.wanted.mean())
    return results, shares


def print_mixture(budget: int = 500) -> None:
    """What a mixture of two targets selects, by weight alone and with quotas."""
    texts, targets, wanted = two_groups()
    raw = pa.record_batch({"text": texts})
    noise = gumbel(0, id_words(content_ids(texts)))
    rows: list[list[float]] = []
    for share in (0.5, 0.7, 0.9):
        shares = {"crypt": share, "space": 1 - share}
        operator = Importance(target={name: Target(path="", proportion=p) for name, p in shares.items()})
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "fit.bin"
            file.write_bytes(operator.fit([raw], {n: [pa.record_batch({"text": t})] for n, t in targets.items()}))
            measured = operator.open({"fit": file})(raw)
        keys = measured["importance"].to_numpy() + noise
        best = np.array(measured["importance_target"].to_pylist(), object)
        top = np.argsort(-keys)[:budget]
        quotas = [np.argsort(np.where(best == n, -keys, np.inf))[: round(budget * p)] for n, p in shares.items()]
        right = fmean((best[wanted[n]] == n).mean() for n in shares)
        rows.append([share, *(float(wanted["crypt"][rows].mean()) for rows in (top, np.concatenate(quotas))), right])
    print(f"\nTwo targets, sci.crypt and sci.space; sci.crypt's share of {budget} selected documents:\n")
    print_table(["proportion", "by weight", "with quotas", "importance_target right"], rows)


def print_tables(results: dict[str, dict[Setting, Selection]], shares: dict[str, float]) -> None:
    """Mean scores; what the choices cost; every task's scores."""
    names, settings = list(results), list(itertools.product(BUCKETS, SMOOTHING, LENGTHS))
    means = {
        setting: {key: fmean(asdict(results[n][setting])[key] for n in names) for key in Selection.__annotations__}
        for setting in settings
    }
    print(f"Score, mean over {len(names)} targets (random choice: {fmean(shares.values()):.3f}):\n")
    for_all = [(s, length) for length in LENGTHS for s in SMOOTHING]
    rows = [[length, s, *(means[b, s, length]["score"] for b in BUCKETS)] for s, length in for_all]
    print_table(["length", "smoothing", *(f"{b:,} buckets" for b in BUCKETS)], rows)
    print("\nWhat is selected, means over the targets:\n")
    keys = [key for key in Selection.__annotations__ if key != "score"]
    kept = [s for s in settings if s[0] in (10_000, 262_144) and s[1] in ("reference", 0.1, 0.2, 0.5)]
    rows = [[*s, means[s]["score"], *(means[s][key] for key in keys)] for s in kept]
    titles = ["distinct words", "repeated documents", "words in a document", "KL reduction", "effective sample size"]
    print_table(["buckets", "smoothing", "length", "score", *titles], rows)
    print("\nScore by target, length sum:\n")
    rows = [["random choice", "", *(shares[n] for n in names)]]
    rows += [[b, s, *(results[n][b, s, "sum"].score for n in names)] for b in BUCKETS for s in SMOOTHING]
    print_table(["buckets", "smoothing", *names], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file whose tables are replaced")
    options = parser.parse_args()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        print_tables(*measure_all())
        print_mixture()
    print(printed.getvalue())
    if options.write:
        before, _, rest = options.write.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        options.write.write_text(f"{before}{BEGIN}\n{printed.getvalue().strip()}\n\n{END}{after}")


if __name__ == "__main__":
    main()
