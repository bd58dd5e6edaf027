"""`gristmill labels aggregate`: one soft label for each item, and how far the annotators can be trusted."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.columns import CONTENT_ID
from gristmill.operators.errors import RecipeError
from gristmill.operators.label.aggregation.agreement import Level, alpha, kappas
from gristmill.operators.label.aggregation.comparisons import bradley_terry
from gristmill.operators.label.aggregation.methods import METHODS
from gristmill.operators.label.aggregation.votes import UNKNOWN, Aggregation, Floats, Votes
from gristmill.operators.label.answers import FIRST, SECOND, TIE
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.label.votes import FITS, FITS_NOT, NamedVotes, as_texts, coded, latest_answers, read_table
from gristmill.pipelines.storage import files

DEFAULT = "mean"
#: Share of the items that count as the top of a scale.
TOP = 0.1
#: Annotators whose agreement by twos is reported: those with most votes.
_IN_PAIRS = 20


def aggregate(named: NamedVotes, method: str = DEFAULT) -> tuple[pa.Table, dict[str, Any]]:
    """Return a table with a row for each item, and a report.

    The table has `item` (or `content_id` and `id`, of a task), `answer`, `probability`, `probabilities` by label, of a
    scale `expected` (the sum of value times probability), `entropy` in nats, `agreement` (share of the votes that are
    for the answer), `votes` and `gold`. Of a multi-label task `answer` and `gold` are JSON lists, and agreement is that
    of the votes on each label. Raises RecipeError where there is no such method.
    """
    if method not in METHODS:
        raise RecipeError(f"there is no method {method}{did_you_mean(method, METHODS)}")
    votes = named.votes
    result = METHODS[method](votes)
    answers = np.argmax(result.shares, axis=1)
    table = _multi_table(named, result) if named.kind == "multi" else _table(named, result, answers)
    report: dict[str, Any] = {
        "method": method,
        "items": table.num_rows,
        "annotators": len({named.annotators[i].partition("\0")[0] for i in np.unique(votes.annotators)}),
        "votes": len(votes.items),
        "left_out": named.left_out,
        "answers": _shares_of_answers(named, answers),
        "gold": _beside_gold(named, method),
        "agreement": agreement(named, result),
        "quality": _quality(named, result),
    }
    return table, report


def _table(named: NamedVotes, result: Aggregation, answers: NDArray[np.int64]) -> pa.Table:
    votes, shares = named.votes, result.shares
    on_item, alike = _counts(votes, answers)
    labels = pa.array(named.labels, pa.string())
    columns: dict[str, pa.Array] = {
        **_names(named, np.arange(votes.n_items)),
        "answer": labels.take(pa.array(answers)),
        "probability": pa.array(shares.max(axis=1), pa.float32()),
        "probabilities": _maps(named.labels, shares),
    }
    if named.kind == "scale":
        columns["expected"] = pa.array(shares @ np.array([float(label) for label in named.labels]))
    columns |= {
        "entropy": pa.array(_entropy(shares), pa.float32()),
        "agreement": _shares_of(alike, on_item),
        "votes": pa.array(on_item, pa.int32()),
        "gold": labels.take(pa.array(votes.gold, mask=votes.gold == UNKNOWN)),
    }
    return pa.table(columns)


def _counts(votes: Votes, answers: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the votes on each item (n), and those that are for its answer (n)."""
    alike = np.bincount(votes.items, votes.labels == answers[votes.items], votes.n_items)
    return np.bincount(votes.items, minlength=votes.n_items), alike


def _shares_of(some: NDArray[Any], whole: NDArray[Any]) -> pa.Array:
    """Return some / whole (n), null where there are none."""
    return pa.array(some / np.maximum(whole, 1), pa.float32(), mask=whole == 0)


def _multi_table(named: NamedVotes, result: Aggregation) -> pa.Table:
    """Return a row for each text of a multi-label task: `answer` is a JSON list, its probability a product."""
    labels = list(dict.fromkeys(named.item_labels))
    k = len(labels)
    fits = result.shares[:, named.labels.index(FITS)].reshape(-1, k)
    chosen = fits >= 0.5
    certainty = np.where(chosen, fits, 1 - fits).prod(axis=1)
    answers = [json.dumps([label for label, fit in zip(labels, row, strict=True) if fit]) for row in chosen]
    entropy = _entropy(result.shares).reshape(-1, k).sum(axis=1)
    answered = np.where(chosen, named.labels.index(FITS), named.labels.index(FITS_NOT)).ravel()
    on_item, alike = (counts.reshape(-1, k) for counts in _counts(named.votes, answered))
    gold = named.votes.gold.reshape(-1, k)
    right = [
        json.dumps([label for label, fits in zip(labels, row == named.labels.index(FITS), strict=True) if fits])
        for row in gold
    ]
    return pa.table(
        {
            **_names(named, np.arange(0, named.votes.n_items, k)),
            "answer": pa.array(answers, pa.string()),
            "probability": pa.array(certainty, pa.float32()),
            "probabilities": _maps(labels, fits),
            "entropy": pa.array(entropy, pa.float32()),
            "agreement": _shares_of(alike.sum(axis=1), on_item.sum(axis=1)),
            "votes": pa.array(on_item[:, 0], pa.int32()),
            "gold": pa.array(right, pa.string(), mask=(gold == UNKNOWN).any(axis=1)),
        }
    )


def _names(named: NamedVotes, places: NDArray[np.int64]) -> dict[str, pa.Array]:
    items = named.items.take(pa.array(places))
    if not pa.types.is_fixed_size_binary(items.type):
        return {"item": items}
    keys = items.to_pylist()
    return {CONTENT_ID: pa.array([key.hex() for key in keys]), "id": pa.array([named.ids.get(key) for key in keys])}


def _maps(labels: Any, shares: Floats) -> pa.Array:
    n, k = shares.shape
    offsets = pa.array(np.arange(0, n * k + 1, k, dtype=np.int32))
    keys = pa.array(labels, pa.string()).take(pa.array(np.tile(np.arange(k), n)))
    return pa.MapArray.from_arrays(offsets, keys, pa.array(shares.ravel(), pa.float32()))


def _entropy(shares: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(shares > 0, -shares * np.log(shares), 0.0)
    entropy: Floats = terms.sum(axis=1)
    return entropy


def _shares_of_answers(named: NamedVotes, answers: NDArray[np.int64]) -> dict[str, float]:
    if named.kind != "multi":
        counts = np.bincount(answers, minlength=len(named.labels)) / max(1, len(answers))
        return dict(zip(named.labels, counts.tolist(), strict=True))
    labels = list(dict.fromkeys(named.item_labels))
    fits = (answers == named.labels.index(FITS)).reshape(-1, len(labels)).mean(axis=0)
    return dict(zip(labels, fits.tolist(), strict=True))


def _beside_gold(named: NamedVotes, method: str) -> dict[str, Any] | None:
    """Return how often a method is right that has not seen the gold; None where there is none."""
    votes = named.votes
    known = np.flatnonzero((votes.gold != UNKNOWN) & (np.bincount(votes.items, minlength=votes.n_items) > 0))
    if not len(known):
        return None
    shares = METHODS[method](votes.without_gold()).shares[known]
    right = int((np.argmax(shares, axis=1) == votes.gold[known]).sum())
    low, high = wilson(right, len(known))
    loss = -np.log(np.maximum(shares[np.arange(len(known)), votes.gold[known]], 1e-12)).mean()
    return {"items": len(known), "accuracy": right / len(known), "low": low, "high": high, "log_loss": float(loss)}


def write_labels(table: pa.Table, out: str) -> None:
    """Write aggregated labels as Parquet. Raises RecipeError for another name."""
    if not out.endswith(".parquet"):
        raise RecipeError(f"--out {out}: aggregated labels are written as Parquet; end the name in .parquet")
    with files.replacing(out) as file:
        pq.write_table(table, file, compression="zstd")


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the bounds of Wilson's interval (1927) of a share, by default of 95 %."""
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def agreement(named: NamedVotes, result: Aggregation) -> dict[str, Any]:
    """Return Krippendorff's alpha over all, in each stratum and at the top of a scale, and the kappas of two."""
    votes = named.votes
    level: Level = "ordinal" if named.kind == "scale" else "nominal"
    on_annotator = np.bincount(votes.annotators, minlength=votes.n_annotators)
    busiest = [int(i) for i in np.argsort(-on_annotator, kind="stable")[:_IN_PAIRS] if on_annotator[i]]
    told: dict[str, Any] = {"level": level, "alpha": alpha(votes, level)}
    if named.kind == "scale":
        expected = result.shares @ np.array([float(label) for label in named.labels])
        top = np.zeros(votes.n_items, np.bool_)
        top[np.argsort(-expected, kind="stable")[: max(1, round(TOP * votes.n_items))]] = True
        told["top"] = {"share": TOP, "alpha": alpha(votes, level, top)}
    if named.strata is not None:
        names, places = coded(pa.chunked_array([named.strata]))
        told["strata"] = {
            name: {"items": int((places == i).sum()), "alpha": alpha(votes, level, places == i)}
            for i, name in enumerate(names.to_pylist())
        }
    told["pairs"] = [
        {
            "annotators": [_shown(named.annotators[pair.first]), _shown(named.annotators[pair.second])],
            "items": pair.items,
            "agreement": pair.agreement,
            "kappa": pair.kappa,
        }
        for pair in kappas(votes, busiest, level)
    ]
    return told


def _shown(name: str) -> str:
    """Return the name of an annotator, of a multi-label task that of the annotator of a label."""
    return name.replace("\0", ": ")


def _quality(named: NamedVotes, result: Aggregation) -> list[dict[str, Any]]:
    """Return for each annotator with votes how often they are right, as estimated and beside gold."""
    votes = named.votes
    on_annotator = np.bincount(votes.annotators, minlength=votes.n_annotators)
    known = votes.gold[votes.items] != UNKNOWN
    with_gold = np.bincount(votes.annotators, known, votes.n_annotators)
    right = np.bincount(votes.annotators, votes.labels == votes.gold[votes.items], votes.n_annotators)
    rows = []
    for i in np.argsort(-on_annotator, kind="stable").tolist():
        if on_annotator[i]:
            row = {
                "annotator": _shown(named.annotators[i]),
                "votes": int(on_annotator[i]),
                "accuracy": float(result.accuracy[i]),
                "gold_votes": int(with_gold[i]),
                "gold_accuracy": float(right[i] / with_gold[i]) if with_gold[i] else None,
            }
            if result.confusions is not None:
                row["confusion"] = result.confusions[i].round(6).tolist()
            rows.append(row)
    return rows


def aggregate_comparisons(path: str, left: str, right: str, winner: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return scores of items by a table of comparisons, and a report.

    A record has two items and the name of the better one; an empty `winner`, or `tie`, says that they are alike. The
    table has `item`, `score` (log of its strength, mean 0), `error` (standard error) and `comparisons`, best first.
    Raises RecipeError where a winner is neither of the two.
    """
    table = as_texts(read_table(path, [left, right, winner], winner))
    firsts, seconds, winners = (table[name].to_pylist() for name in (left, right, winner))
    whole = [bool(a) and bool(b) and a != b for a, b in zip(firsts, seconds, strict=True)]
    outcomes = []
    for row, (a, b, best) in enumerate(zip(firsts, seconds, winners, strict=True)):
        if whole[row] and best not in (a, b, "tie", "", None):
            raise RecipeError(f"{path}: the winner {best!r} of row {row} is neither {a!r} nor {b!r}; a tie is `tie`")
        outcomes.append(1.0 if best == a else 0.0 if best == b else 0.5)
    keep = np.array(whole, np.bool_)
    if not keep.any():
        raise RecipeError(f"{path} holds no comparisons: records with {left}, {right} and {winner}")
    both = pa.chunked_array([table[left].combine_chunks(), table[right].combine_chunks()])
    names, places = coded(both.filter(pa.array(np.tile(keep, 2))))
    n = int(keep.sum())
    return _scored(names, places[:n], places[n:], np.array(outcomes)[keep], len(whole) - n)


def aggregate_pairs(loaded: LoadedTask, store: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return scores of the texts that a task compared by twos, and a report, as `aggregate_comparisons` does.

    The table has `content_id` and `id` in place of `item`. A soft answer counts by its probabilities, half of a tie for
    either side. Raises RecipeError where the store has no answers.
    """
    opened, rows = latest_answers(loaded, store)
    documents = opened.documents()
    ids = dict(zip(documents[CONTENT_ID].to_pylist(), documents["id"].to_pylist(), strict=True))
    pairs = [str(ids.get(key, "")).partition(":") for key in rows[CONTENT_ID].to_pylist()]
    known = np.array([bool(separator) for _, separator, _ in pairs], np.bool_)
    sides = [pair[side] for side in (0, 2) for pair in pairs if pair[1]]
    names, places = coded(pa.chunked_array([pa.array(sides, pa.string())]))
    answers = zip(rows["answer"].to_pylist(), rows["probabilities"].to_pylist(), strict=True)
    outcomes = [_outcome(answer, shares) for answer, shares in answers]
    n = int(known.sum())
    table, report = _scored(names, places[:n], places[n:], np.array(outcomes)[known], len(pairs) - n)
    keys = table["item"].to_pylist()
    named = pa.array([ids.get(bytes.fromhex(key)) for key in keys], pa.string())
    table = table.rename_columns([CONTENT_ID, *table.column_names[1:]]).add_column(1, "id", named)
    return table, {**report, "annotators": len(rows["annotator"].unique())}


def _outcome(answer: str, shares: Any) -> float:
    """Return how far the first of two texts is the better one, 0 to 1."""
    if shares is None:
        return {FIRST: 1.0, SECOND: 0.0, TIE: 0.5}[answer]
    told = dict(shares)
    return float(told.get(FIRST, 0.0) + told.get(TIE, 0.0) / 2)


def _scored(
    names: pa.Array, left: NDArray[np.int64], right: NDArray[np.int64], outcomes: Floats, left_out: int
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of scores of items (`names`) by comparisons (n), best first, and the report."""
    n = len(left)
    strengths = bradley_terry(left, right, outcomes, len(names))
    counts = np.bincount(np.concatenate([left, right]), minlength=len(names))
    order = np.argsort(-strengths.scores, kind="stable")
    scored = pa.table(
        {
            "item": names,
            "score": strengths.scores,
            "error": strengths.errors,
            "comparisons": pa.array(counts, pa.int32()),
        }
    ).take(pa.array(order))
    report = {
        "method": "bradley_terry",
        "items": len(names),
        "comparisons": n,
        "ties": int((outcomes == 0.5).sum()),
        "left_out": left_out,
        "iterations": strengths.iterations,
    }
    return scored, report
