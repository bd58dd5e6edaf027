"""The report on a student in words: sentences, and a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_STRATA = 12  # that a page shows of each grouping


def sentences(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the report comes to, a line each."""
    counts, test = report["examples"], report["test"]
    why = "near copies of texts to test with, or of a label that is not known"
    left_out = f"; {counts['left_out']:,} left out ({why})" if counts["left_out"] else ""
    yield (
        f"learnt from {counts['learnt']:,} texts, calibrated with {counts['calibrated']:,}, tested with "
        f"{counts['tested']:,}{left_out}"
    )
    if (correction := report["correction"]) is not None and correction["applied"]:
        yield (
            f"about {correction['wrong']:.0%} of the labels are wrong by what other texts say: it learnt "
            f"{correction['changed']:,} corrected ones (`gristmill labels audit` lists them). Those tested with are as "
            "they were given, and their errors count as its own"
        )
    if "accuracy" in test:
        low, high = test["accuracy_interval"]
        most = test["most_frequent"]
        yield f"accuracy {test['accuracy']:.1%} ({low:.1%} to {high:.1%}); always the most frequent label {most:.1%}"
    precision = _mean(test["average_precision"])
    yield f"macro-F1 {test['macro_f1']:.3f}, AUC {_mean(test['auc'])}, average precision {precision}"
    if "spearman" in test:
        rank = "-" if test["spearman"] is None else f"{test['spearman']:.3f}"
        yield f"rank correlation of the expected number {rank}, off by {test['mean_error']:.2f} on average"
    if report["prior"] is not None:
        yield (
            f"{report['prior']:.1%} of the unlabelled texts are {next(iter(report['curves']))}: scores and cuts are "
            "about them; the figures above count them all as what they are called"
        )
    if (gold := report["gold"]) is not None:
        yield _beside_gold(gold, report["cost"].get("labels_right_by_gold"))
    told = test["calibration"]
    yield (
        f"calibration error {told['ece']:.3f} ({told['ece_before']:.3f} before), log loss {told['log_loss']:.3f} "
        f"({told['log_loss_before']:.3f})"
    )
    if apart := report["calibration_by_stratum"]:
        own, common = (sum(row[name] * row["texts"] for row in apart) for name in ("ece", "ece_common"))
        n = sum(row["texts"] for row in apart)
        yield (
            f"calibrated by {told['by']}: inside {len(apart)} of them the calibration error is {own / n:.3f} on "
            f"average ({common / n:.3f} with one calibration for all)"
        )
    cost = report["cost"]
    paid = f"{cost['label_cost_per_1000']:,.2f} and " if cost.get("label_cost_per_1000") else ""
    tokens = cost.get("label_input_tokens_per_1000", 0) + cost.get("label_output_tokens_per_1000", 0)
    labels = f"; their labels took {paid}{tokens:,.0f} tokens" if tokens else ""
    yield f"a thousand texts take the student {cost['student_seconds_per_1000']:.3f} s{labels}"


def _beside_gold(gold: Mapping[str, Any], labels_right: float | None) -> str:
    """Return how good a student is by the labels that are known to be right, and how good its teachers are."""
    if "accuracy" in gold:
        low, high = gold["accuracy_interval"]
        figures = f"accuracy {gold['accuracy']:.1%} ({low:.1%} to {high:.1%}), macro-F1 {gold['macro_f1']:.3f}"
    else:
        figures = f"macro-F1 {gold['macro_f1']:.3f}"
    teachers = "" if labels_right is None else f"; its labels without gold are right in {labels_right:.1%}"
    return f"on the {gold['texts']:,} texts tested with whose label is gold: {figures}{teachers}"


def _mean(values: Mapping[str, float | None]) -> str:
    known = [value for value in values.values() if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"


def curve_rows(curve: Sequence[Mapping[str, float]]) -> list[list[str]]:
    """Return the learning curve as rows of text: examples, share that is right, log loss."""
    return [[f"{row['examples']:,}", f"{row['accuracy']:.1%}", f"{row['log_loss']:.3f}"] for row in curve]


def cut_rows(curves: Mapping[str, Any]) -> list[list[str]]:
    """Return the cuts that wishes give as rows of text: what is positive, wish, cut, kept, precision, recall."""
    rows = []
    for name, curve in curves.items():
        for wish, cut in curve["cuts"].items():
            figures = ["-"] * 4
            if cut is not None:
                shares = (f"{cut[what]:.1%}" for what in ("kept", "precision", "recall"))
                figures = [f"{cut['threshold']:.4g}", *shares]
            rows.append([name, wish, *figures])
    return rows


def stratum_rows(strata: Mapping[str, Any]) -> list[list[str]]:
    """Return the figures inside strata as rows of text: grouping, stratum, texts, share positive, AUC, correlation."""
    rows = []
    for name, grouping in strata.items():
        for row in grouping["rows"][:_STRATA]:
            figures = ["-" if row[what] is None else f"{row[what]:.3f}" for what in ("auc", "spearman")]
            rows.append([name, str(row["stratum"]), f"{row['texts']:,}", f"{row['positive']:.1%}", *figures])
    return rows


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as a page in Markdown."""
    test = report["test"]
    lines = [f"# {report['model']}", ""]
    lines += [f"- {sentence}." for sentence in sentences(report)]
    lines += [f"- **Warning**: {warning}." for warning in report["warnings"]]
    if "confusion" in test:
        rows = [[label, *map(str, row)] for label, row in zip(report["labels"], test["confusion"], strict=True)]
        lines += ["", "## Answers", "", *table_lines(["is \\ was answered", *report["labels"]], rows)]
    lines += [
        "",
        "## Labels",
        "",
        *table_lines(["label", "share", "F1", "AUC", "average precision"], _label_rows(report)),
    ]
    heads = ["positive", "wish", "cut", "kept", "precision", "recall"]
    lines += ["", "## Cuts", "", *table_lines(heads, cut_rows(report["curves"]))]
    sets = [
        [f"{row['coverage']:.0%}", f"{row['covered']:.1%}", f"{row['labels']:.2f}", f"{row['empty']:.1%}"]
        for row in report["sets"]
    ]
    if sets:
        lines += ["", "## Label sets", "", *table_lines(["coverage", "covered", "labels of a set", "empty"], sets)]
    heads = ["grouping", "stratum", "texts", "positive", "AUC", "rank correlation"]
    lines += ["", "## Inside strata", "", *table_lines(heads, stratum_rows(report["strata"]))]
    lines += [
        "",
        "## More examples",
        "",
        *table_lines(["examples", "right", "log loss"], curve_rows(report["learning_curve"])),
    ]
    apart = [
        [str(row["stratum"]), f"{row['texts']:,}", f"{row['ece']:.3f}", f"{row['ece_common']:.3f}"]
        for row in report["calibration_by_stratum"]
    ]
    if apart:
        heads = [test["calibration"]["by"], "texts", "calibration error", "with one calibration for all"]
        lines += ["", "## Calibrated apart", "", *table_lines(heads, apart)]
    reliability = [
        [f"{r['confidence']:.3f}", f"{r['right']:.3f}", f"{r['n']:,}"] for r in test["calibration"]["reliability"]
    ]
    lines += ["", "## Calibration", "", *table_lines(["probability", "right", "answers"], reliability), ""]
    return "\n".join(lines)


def _label_rows(report: Mapping[str, Any]) -> list[list[str]]:
    test = report["test"]
    rows = []
    for label in report["labels"]:
        values = (test[what][label] for what in ("f1", "auc", "average_precision"))
        rows.append([label, f"{report['shares'][label]:.1%}", *("-" if v is None else f"{v:.3f}" for v in values)])
    return rows


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table in Markdown, a line each."""
    escaped = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [heads, *rows])
    first, *others = (f"| {' | '.join(row)} |" for row in escaped)
    return [first, "|" + "---|" * len(heads), *others]
