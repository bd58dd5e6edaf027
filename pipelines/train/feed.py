"""`gristmill labels feed`: labelled texts in splits, for the training of classifiers by other programs.

A text and its near copies are in one split, so that what is measured on a split was not learnt by heart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.fasttext import LABEL_PREFIX
from gristmill.operators.student.fasttext import label_word
from gristmill.operators.student.features import Floats
from gristmill.pipelines.storage import files
from gristmill.pipelines.train.split import CALIBRATE, LEARN, TEST, Examples, Split, split_by_cluster

#: Splits by name, as libraries know them.
SPLITS = {"train": LEARN, "validation": CALIBRATE, "test": TEST}
FORMATS = ("parquet", "fasttext")
#: The file beside the splits that tells what is in them; a folder that has it is complete.
REPORT = "feed.json"
_MOST_CLUSTERS, _MOST_IDS = 20, 10
_BLANKS = re.compile(r"[\s\0]+")
#: Words that fastText does not take for words: labels, and the end of a line.
_NO_WORD = re.compile(rf"(?:{LABEL_PREFIX.decode()}.*|</s>)")


@dataclass(frozen=True)
class ClassifierFeed:
    """Labelled texts in splits, each text once, in an order drawn by the seed."""

    #: Of each split (train, validation, test) `id`, `text`, `label` (a number of a scale, a list where several labels
    #: may fit), `probability` (of the label, 0 to 1), `weight` (how much the text is to count) and `cluster`, the
    #: number of its cluster of near copies.
    splits: Mapping[str, pa.Table]
    report: Mapping[str, Any]  #: counts by split and label, and the clusters that were kept together

    def arrays(self, split: str) -> tuple[list[str], list[Any], Floats]:
        """Return texts, labels and weights (n each) of a split, as scikit-learn takes them."""
        table = self.splits[split]
        return table["text"].to_pylist(), table["label"].to_pylist(), table["weight"].to_numpy()

    def write(self, out: str, format: str = "parquet") -> None:
        """Write a file for each split into a folder, and the report beside them.

        `parquet` is a folder that Hugging Face's `load_dataset` reads, `fasttext` has a line `__label__NAME TEXT` for
        each text, in which blanks are single spaces and words that fastText would take for labels or for the end of the
        line are left out. Raises RecipeError for another format.
        """
        check_format(format)
        files.remove(files.join(out, REPORT))
        for name, table in self.splits.items():
            if format == "parquet":
                files.write_table(files.join(out, f"{name}.parquet"), table)
            else:
                with files.replacing(files.join(out, f"{name}.txt")) as file:
                    rows = zip(table["label"].to_pylist(), table["text"].to_pylist(), strict=True)
                    file.writelines(_line(label, text) for label, text in rows)
        files.write_json(files.join(out, REPORT), {"format": format, **self.report})


def check_format(format: str) -> None:
    """Raise RecipeError for a format that there is not."""
    if format not in FORMATS:
        raise RecipeError(f"there is no format {format}; take {' or '.join(FORMATS)}")


def classifier_feed(
    examples: Examples,
    name: str,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    balance: bool = False,
) -> ClassifierFeed:
    """Return examples in splits: `validation` and `test` are shares of the clusters of near copies of each label.

    The weight of a text is the probability of its label; with `balance`, times what makes all labels of `train` weigh
    alike. `name` is told in the report. The same examples give the same splits in whatever order they come. Raises
    RecipeError where the shares leave nothing to train with, or labels that do not exclude each other are balanced.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise RecipeError(
            f"validation and test are shares of the texts, together less than 1, not {validation} and {test}"
        )
    if balance and not examples.exclusive:
        raise RecipeError("balance makes labels weigh alike of which a text has one; several may fit here")
    drawn = split_by_cluster(examples, seed, {CALIBRATE: validation, TEST: test})
    if not len(drawn.sides):
        raise RecipeError(f"{name} has no labelled text")
    names = _names(drawn.examples)
    labels, chosen, probabilities = _labels(drawn.examples, names)
    weights = probabilities * _balance(drawn, chosen, probabilities) if balance else probabilities
    table = pa.table(
        {
            "id": pa.array(drawn.examples.ids, pa.string()),
            "text": drawn.examples.texts,
            "label": labels,
            "probability": probabilities,
            "weight": weights,
            "cluster": drawn.clusters,
        }
    )
    splits = {split: table.filter(pa.array(drawn.sides == side)) for split, side in SPLITS.items()}
    told = {"of": name, "seed": seed, "validation": validation, "test": test, "balance": balance}
    return ClassifierFeed(splits, {**told, **_report(names.to_pylist(), splits)})


def _names(examples: Examples) -> pa.Array:
    """Return the labels (k): numbers of a scale, whole ones where all are."""
    if examples.kind != "scale":
        return pa.array(examples.labels, pa.string())
    values = [float(label) for label in examples.labels]
    return pa.array(values, pa.float64()) if any(value % 1 for value in values) else pa.array(values, pa.int64())


def _labels(examples: Examples, names: pa.Array) -> tuple[pa.Array, NDArray[np.int64], Floats]:
    """Return the label of each text (n), its number (n; nothing where several may fit), and its probability (n)."""
    if not examples.exclusive:
        fits = examples.targets >= 0.5
        lists = [[name for name, fit in zip(examples.labels, row, strict=True) if fit] for row in fits.tolist()]
        certain: Floats = np.where(fits, examples.targets, 1 - examples.targets).prod(axis=1)
        return pa.array(lists, pa.list_(pa.string())), np.zeros(0, np.int64), certain
    chosen = examples.targets.argmax(axis=1)
    return names.take(pa.array(chosen)), chosen, examples.targets.max(axis=1)


def _balance(drawn: Split, chosen: NDArray[np.int64], probabilities: Floats) -> Floats:
    """Return what the weight of each text (n) is multiplied by, so that labels that are learnt weigh alike."""
    learnt = drawn.learnt
    of_label = np.bincount(chosen[learnt], probabilities[learnt], len(drawn.examples.labels))
    even = of_label.sum() / max(1, np.count_nonzero(of_label))
    factors: Floats = np.where(of_label > 0, even / np.where(of_label > 0, of_label, 1), 1.0)[chosen]
    return factors


def _report(names: Sequence[Any], splits: Mapping[str, pa.Table]) -> dict[str, Any]:
    """Return counts by split and label, and the clusters of several texts, the largest first."""
    counts: dict[str, Any] = {}
    kept: list[dict[str, Any]] = []
    for split, table in splits.items():
        given = [label if isinstance(label, list) else [str(label)] for label in table["label"].to_pylist()]
        of_label = Counter(label for labels in given for label in labels)
        clusters: dict[int, list[str]] = {}
        for cluster, id in zip(table["cluster"].to_pylist(), table["id"].to_pylist(), strict=True):
            clusters.setdefault(cluster, []).append(id)
        counts[split] = {
            "texts": table.num_rows,
            "clusters": len(clusters),
            "labels": {name: of_label[str(name)] for name in map(str, names)},
        }
        if unlabelled := sum(not labels for labels in given):
            counts[split]["without_a_label"] = unlabelled
        kept += [{"split": split, "texts": len(ids), "ids": ids} for ids in clusters.values() if len(ids) > 1]
    kept.sort(key=lambda cluster: (-cluster["texts"], cluster["ids"]))
    return {
        "texts": sum(split["texts"] for split in counts.values()),
        "splits": counts,
        "kept_together": {
            "clusters": len(kept),
            "texts": sum(cluster["texts"] for cluster in kept),
            "largest": [{**cluster, "ids": cluster["ids"][:_MOST_IDS]} for cluster in kept[:_MOST_CLUSTERS]],
        },
    }


def _line(label: Any, text: str) -> bytes:
    """Return the line of a text, with its labels, for fastText."""
    words = [word for word in _BLANKS.split(text) if word and not _NO_WORD.fullmatch(word)]
    labels = label if isinstance(label, list) else [str(label)]
    return " ".join([*map(label_word, labels), *words]).encode() + b"\n"
