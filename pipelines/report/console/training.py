"""Reports on classifiers and students on the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from rich.console import Console, Group, RenderableType
from rich.table import Table

from gristmill.pipelines.config.wording import excerpt, plural
from gristmill.pipelines.progress.console import literal
from gristmill.pipelines.train.audit import confusion_rows, ids_of, page_of
from gristmill.pipelines.train.audit import summary as summary_of_audit
from gristmill.pipelines.train.loop import LoopResult
from gristmill.pipelines.train.loop_report import HEADS as ROUNDS
from gristmill.pipelines.train.loop_report import sentences as sentences_of_loop
from gristmill.pipelines.train.loop_report import table_rows
from gristmill.pipelines.train.report import TrainReport, cells, summary
from gristmill.pipelines.train.student_report import curve_rows, cut_rows, sentences, stratum_rows

_MOST_SUSPECTED, _EXCERPT = 10, 300


def show_training(report: TrainReport, page: str | None, console: Console) -> None:
    """Print the report on a classifier; `page` is the one on it, where there is one."""
    plain: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    sides = Table("label", "learnt", "held out", "duplicates", "empty", title="Documents", **plain)
    for side in (report.positive, report.negative):
        sides.add_row(side.label, *(f"{n:,}" for n in (side.trained, side.held_out, side.duplicates, side.empty)))
    curve = Table("probability at least", "precision", "recall", "kept", title="Held out", **plain)
    for row in report.thresholds:
        curve.add_row(*cells(row))
    mistakes: list[RenderableType] = [
        literal("Most confident mistakes", "italic") if report.mistakes else "No mistakes at even odds."
    ]
    for mistake in report.mistakes:
        mistakes.append(f"{mistake.probability:.3f} for {mistake.id}, which is {mistake.label}")
        mistakes.append(literal(f"      {mistake.excerpt}", "dim", no_wrap=True, overflow="ellipsis"))
    warnings = [literal(f"! {warning}", "yellow") for warning in report.warnings()]
    console.print(Group(sides, summary(report), *warnings, curve, *mistakes))
    if page is not None:
        console.print(f"  the page {page} has more", style="dim")


def show_distilled(report: Mapping[str, Any], page: str | None, console: Console) -> None:
    """Print what the student is worth, where to cut, and what is to be doubted; `page` is the one on it."""
    labels = ", ".join(f"{label} {share:.1%}" for label, share in report["shares"].items())
    console.print(f"{report['model']}: {labels}", style="bold")
    for sentence in sentences(report):
        console.print(f"  {sentence}")
    for warning in report["warnings"]:
        console.print(f"! {warning}", style="yellow")
    heads = ("positive", "wish", "cut", "kept", "precision", "recall")
    console.print(_table(heads, cut_rows(report["curves"]), left=2))
    console.print(_table(("grouping", "stratum", "texts", "positive", "AUC", "rank correlation"),
                         stratum_rows(report["strata"]), left=2))  # fmt: skip
    console.print(_table(("examples", "right", "log loss"), curve_rows(report["learning_curve"]), left=0))
    console.print(f"  the page {page or report['model'] + '.report.md'} has more", style="dim")


def show_loop(result: LoopResult, model: str, sampler: str, page: str | None, console: Console) -> None:
    """Print what came of the rounds of a loop, and of the student; `page` is the one on it."""
    for sentence in sentences_of_loop(result.rounds, sampler):
        console.print(sentence, style="bold")
    if result.rounds:
        console.print(_table(ROUNDS, table_rows(result.rounds), left=0))
    if result.reached is not None:
        console.print(f"! the task's budget for {result.reached} ended the loop", style="yellow")
    if result.student is None:
        console.print("ended before the next round; the same command goes on from here")
        return
    console.print(f"  the rounds are in {model}.loop: rounds.html, and rounds.md with a plot", style="dim")
    show_distilled(result.student, page, console)


def show_audit(suspected: pa.Table, report: Mapping[str, Any], file: str | None, console: Console) -> None:
    """Print what is suspected of labels: how many, of which kinds, and the first of them."""
    for sentence in summary_of_audit(report):
        console.print(sentence, style="bold")
    if report["confusions"]:
        console.print(_table(("label", "given as", "how often", "texts"), confusion_rows(report), left=2))
    for row in suspected.slice(0, _MOST_SUSPECTED).to_pylist():
        console.print(f"{row['wrong']:.0%} {row['id']}: {row['answer']}, rather {row['suggested']}")
        console.print(literal(f"      {'; '.join(row['reasons'])}", "dim"))
        console.print(literal(f"      {excerpt(row['text'], _EXCERPT)}", "dim", no_wrap=True, overflow="ellipsis"))
    if file is None:
        console.print("  --out FILE.parquet writes all of them, and a page to read", style="dim")
    else:
        ids = f", {ids_of(file)} to ask about again" if report["budget"]["texts"] else ""
        console.print(f"  {file}; {page_of(file)} to read{ids}", style="dim")


def show_feed(report: Mapping[str, Any], folder: str, console: Console) -> None:
    """Print how many texts of each label are in each split, and what was kept together."""
    splits = report["splits"]
    labels = [[name, *(f"{split['labels'][name]:,}" for split in splits.values())] for name in _label_names(splits)]
    texts = ["texts", *(f"{split['texts']:,}" for split in splits.values())]
    clusters = ["clusters", *(f"{split['clusters']:,}" for split in splits.values())]
    console.print(_table(("label", *splits), [*labels, texts, clusters], left=1))
    kept = report["kept_together"]
    if kept["clusters"]:
        console.print(f"{plural(kept['clusters'], 'cluster')} of near copies, {kept['texts']:,} texts, kept together")
    console.print(f"  {folder}", style="dim")


def _label_names(splits: Mapping[str, Any]) -> list[str]:
    return [*next(iter(splits.values()))["labels"]]


def _table(heads: tuple[str, ...], rows: list[list[str]], left: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    for row in rows:
        table.add_row(*row)
    return table
