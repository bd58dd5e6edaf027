"""Pages on models that were trained: a student of labels, a classifier of two kinds, the rounds of a loop.

They are made of the reports that lie beside a model (`OUT.report.json`, `OUT.loop/round-*.json`), and of nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from markupsafe import Markup

from gristmill.pipelines.html import page
from gristmill.pipelines.html.curve_charts import ChartLine, curve_chart, reliability_chart
from gristmill.pipelines.html.heat_map import heat_map
from gristmill.pipelines.html.svg import horizontal_bar
from gristmill.pipelines.label.aggregate import wilson
from gristmill.pipelines.train.loop_report import sentences as sentences_of_loop
from gristmill.pipelines.train.loop_state import RANDOM, SAMPLED
from gristmill.pipelines.train.student_report import cut_rows, sentences

#: Labels whose threshold curve is drawn, and rows of a grouping that are shown.
_SHOWN_CURVES, _SHOWN_STRATA = 24, 40
#: What a row of a threshold curve tells, and what it is called.
_CURVES = (("precision", "precision"), ("recall", "recall"), ("kept", "kept"))


def student_page(report: Mapping[str, Any]) -> bytes:
    """Return the page on a student, of its report (`gristmill distil`)."""
    test, labels = report["test"], report["labels"]
    confusion = test.get("confusion")
    most = max([1e-9, *(report["shares"][label] for label in labels)])
    return page.render(
        "student.html",
        report=report,
        test=test,
        sentences=list(sentences(report)),
        reliability=_reliability(test["calibration"]["reliability"]),
        confusion=None if confusion is None else heat_map(confusion, labels, labels, "is", "was answered", True),
        labels=[
            {
                "label": label,
                "share": report["shares"][label],
                "bar": horizontal_bar([(report["shares"][label] / most, "kept")], f"share of {label}"),
                **{what: test[what][label] for what in ("f1", "auc", "average_precision")},
            }
            for label in labels
        ],
        curves=[_threshold_curve(name, curve["rows"]) for name, curve in [*report["curves"].items()][:_SHOWN_CURVES]],
        more_curves=max(0, len(report["curves"]) - _SHOWN_CURVES),
        cuts=cut_rows(report["curves"]),
        strata=[(name, _strata(grouping)) for name, grouping in report["strata"].items()],
        learning=_learning(report["learning_curve"]),
        options=yaml.safe_dump(dict(report["options"]), sort_keys=False, allow_unicode=True),
    )


def classifier_page(report: Mapping[str, Any]) -> bytes:
    """Return the page on a classifier of two kinds, of its report (`gristmill train quality`)."""
    sides = [report["positive"], report["negative"]]
    by_length = max(report["length_auc"], 1 - report["length_auc"])
    return page.render(
        "classifier.html",
        report=report,
        sides=sides,
        tested=sum(side["held_out"] for side in sides),
        by_length=by_length,
        reliability=_reliability(report.get("reliability", ())),
        curve=_threshold_curve(sides[0]["label"], report["thresholds"]),
        options=yaml.safe_dump(dict(report["arguments"]), sort_keys=False, allow_unicode=True),
    )


def loop_page(rows: Sequence[Mapping[str, Any]], model: str, sampler: str) -> bytes:
    """Return the page on the rounds of a loop."""
    measure = rows[-1]["measure"] if rows else ""
    return page.render(
        "loop.html",
        model=model,
        sampler=sampler,
        measure=measure,
        rows=rows,
        sentences=sentences_of_loop(rows, sampler),
        chart=_rounds(rows, measure) if rows else None,
        random=RANDOM,
        sampled=SAMPLED,
    )


def _reliability(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the plot of how often answers are right by how sure they are, and its rows."""
    if not rows:
        return None
    points = []
    for row in rows:
        low, high = wilson(round(row["right"] * row["n"]), row["n"])
        points.append((row["confidence"], row["right"], row["n"], low, high))
    n = sum(row["n"] for row in rows)
    off = sum(abs(row["confidence"] - row["right"]) * row["n"] for row in rows) / n
    label = f"Reliability: share that is right by probability, of {n:,} answers; {off:.3f} off on average"
    return {"chart": reliability_chart(points, label), "rows": points}


def _threshold_curve(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return precision, recall and share kept by the limit, as a chart and a table."""
    ordered = sorted(rows, key=lambda row: float(row["threshold"]))
    lines = [
        ChartLine(told, [(row["threshold"], row[what]) for row in ordered if row[what] is not None])
        for what, told in _CURVES
    ]
    best = max(ordered, key=lambda row: _f1(row))
    label = (
        f"Precision, recall and share kept of {name} by the limit; F1 is highest at {best['threshold']:.4g}: "
        f"precision {best['precision'] or 0:.1%}, recall {best['recall']:.1%}, kept {best['kept']:.1%}"
    )
    least, most = float(ordered[0]["threshold"]), float(ordered[-1]["threshold"])
    ends = (0.0, 1.0) if least >= 0 and most <= 1 else (least, most)
    return {"name": name, "chart": curve_chart(lines, label, "limit", ends), "rows": ordered}


def _f1(row: Mapping[str, Any]) -> float:
    precision, recall = row["precision"] or 0.0, row["recall"]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _strata(grouping: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {
            **row,
            "bar": None
            if row["auc"] is None
            else horizontal_bar([(row["auc"], "kept")], f"AUC in {row['stratum']}: {row['auc']:.3f}"),
        }
        for row in grouping["rows"][:_SHOWN_STRATA]
    ]
    return {**grouping, "rows": rows, "others": max(0, len(grouping["rows"]) - _SHOWN_STRATA)}


def _learning(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if len(rows) < 2:
        return None
    line = ChartLine("share that is right", [(row["examples"], row["accuracy"]) for row in rows])
    label = f"Share that is right by examples, from {rows[0]['accuracy']:.1%} to {rows[-1]['accuracy']:.1%}"
    least = max(0.0, min(row["accuracy"] for row in rows) - 0.1)
    chart = curve_chart([line], label, "examples", (0, rows[-1]["examples"]), (least, 1.0))
    return {"chart": chart, "rows": rows}


def _rounds(rows: Sequence[Mapping[str, Any]], measure: str) -> Markup:
    """Return quality by the number of labels, a line for each side, with its interval of 95 %."""
    at_random = [(row[f"{RANDOM}_labels"], row[RANDOM]) for row in rows]
    lines = [_side("at random", at_random)]
    if SAMPLED in rows[-1]:  # in the first round it is as the other side
        own = [(row.get(f"{SAMPLED}_labels", row[f"{RANDOM}_labels"]), row.get(SAMPLED, row[RANDOM])) for row in rows]
        lines = [_side("by the sampler", own), *lines]
    bounds = [bound for line in lines for interval in line.intervals for bound in interval]
    low, high = min(bounds), max(bounds)
    room = max(0.05 * (high - low), 1e-3)
    last = rows[-1]["asked"]
    label = f"{measure} by labels, in {len(rows)} rounds that asked about {last:,} texts"
    most = max(x for line in lines for x, _ in line.points)
    return curve_chart(lines, label, "labels", (0, most), (low - room, high + room), wide=True)


def _side(name: str, points: Sequence[tuple[float, Sequence[float]]]) -> ChartLine:
    values = [(labels, interval[0]) for labels, interval in points]
    return ChartLine(name, values, [(interval[1], interval[2]) for _, interval in points])
