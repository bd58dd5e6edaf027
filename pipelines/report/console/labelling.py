"""A labelling run as a person sees it: what it is about to ask, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath

from rich.console import Console
from rich.table import Table

from gristmill.pipelines.config.wording import in_units, plural
from gristmill.pipelines.label.budget import NIGHT, Amount, Ceilings
from gristmill.pipelines.label.models import is_path
from gristmill.pipelines.label.result import AnnotatorResult, LabelPlan, LabelResult

#: The words for a ceiling's name in a sentence.
CEILINGS = {
    "documents": "documents",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "cost": "cost",
}
_NEXT_NIGHT = "the rest is asked first in the next night"


def show_label_plan(plan: LabelPlan, console: Console) -> None:
    """Print the forecast: what each annotator will be asked, what it takes, what is known already."""
    console.print(f"{plan.task}: {_chosen(plan.documents, plan.of, plan.texts)}", style="bold", markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("annotator", "model"):
        table.add_column(name, overflow="fold")
    for name in ("known", "to ask", "repairs", "tokens in", "tokens out", "cost"):
        table.add_column(name, justify="right", no_wrap=True)
    for forecast in plan.forecasts:
        share = forecast.known / max(1, plan.texts)
        about = "" if forecast.exact else "~"
        table.add_row(
            forecast.annotator,
            short_model(forecast.model),
            f"{forecast.known:,} ({share:.0%})",
            f"{forecast.asked:,}",
            f"{forecast.repairs:,}",
            f"{about}{in_units(forecast.input_tokens)}",
            in_units(forecast.output_tokens),
            f"{forecast.cost:,.2f}",
        )
    console.print(table)
    night = (f"night of {plan.night}", "night's ceiling", plan.budget.night, plan.tonight, _NEXT_NIGHT)
    for whose, ceiling, ceilings, spent, rest in (
        ("budget", "ceiling", plan.budget, plan.spent, "the run will end there"),
        night,
    ):
        if limits := list(_limits(ceilings, spent)):
            console.print(f"{whose}: {'; '.join(limits)}", markup=False)
        if passed := list(_passed(plan, ceilings, spent)):
            message = f"! more is to be asked than the {ceiling} for {' and '.join(passed)} leaves: {rest}"
            console.print(message, style="yellow", markup=False)


def show_label_result(result: LabelResult, console: Console) -> None:
    """Print what came of each annotator, what was spent, and what is left."""
    if result.rejects:
        message = f"! {plural(result.rejects, 'record')} left out, such as {result.first_reject}"
        console.print(message, style="yellow", markup=False)
    if result.declined:
        console.print(f"{result.task}: nothing was asked", style="yellow", markup=False)
        return
    for annotator in result.annotators:
        for line, style in _lines(annotator, result):
            console.print(line, style=style, markup=False)
    now, total = _amount(result.spent.less(result.before)), _amount(result.spent)
    console.print(f"spent    {now} in {result.seconds:.1f} s; by all runs {total}", style="dim")
    if result.report is not None:
        console.print(f"report   {result.report}", style="dim", markup=False)
    if result.reached is not None:
        whose = "night" if result.reached.startswith(NIGHT) else "budget"
        rest = f"stored; {_NEXT_NIGHT}" if whose == "night" else "stored; raise it and run again to go on"
        message = f"! the {whose}'s ceiling for {CEILINGS[result.reached.removeprefix(NIGHT)]} ends the questions here"
        console.print(f"{message}: all that was paid is {rest}", style="yellow", markup=False)


def short_model(model: str) -> str:
    """Return a model's name for a table: of a path its last part."""
    return PurePath(model).name if is_path(model) else model


def _lines(annotator: AnnotatorResult, result: LabelResult) -> Iterator[tuple[str, str | None]]:
    head = f"{result.task} by {annotator.annotator}"
    rate = f", {annotator.asked / annotator.seconds:,.0f} documents/s" if annotator.asked and annotator.seconds else ""
    parts = [f"{plural(annotator.answered, 'text')} of {annotator.texts:,} answered"]
    parts += [f"{annotator.cached:,} known before"] if annotator.cached else []
    parts += [f"{plural(annotator.repaired, 'answer')} repaired"] if annotator.repaired else []
    yield f"{head}: {', '.join(parts)}{rate}", "bold"
    if annotator.quarantined:
        yield f"! {plural(annotator.quarantined, 'text')} in quarantine: `gristmill labels query` shows why", "yellow"
    if annotator.unanswered and not result.reached:
        why = f": {annotator.first_failure}" if annotator.first_failure else ""
        yield f"! {plural(annotator.unanswered, 'text')} without an answer, run again to ask them{why}", "yellow"


def _chosen(documents: int, of: int, texts: int) -> str:
    phrase = plural(documents, "document")
    if documents < of:
        phrase += f" chosen of {of:,}"
    return phrase + (f", {texts:,} different texts" if texts < documents else "")


def show_waiting(waiting: Mapping[str, Amount], console: Console) -> None:
    """Print what is left for a later run, by task, and what it is expected to cost."""
    for task, left in waiting.items():
        verb = "waits" if left.documents == 1 else "wait"
        message = f"{task}: {plural(left.documents, 'text')} {verb} for a label, about {_amount(left)}"
        console.print(f"! {message}; a later run asks them first", style="yellow", markup=False)


def _limits(ceilings: Ceilings, spent: Amount) -> Iterator[str]:
    for name, words in CEILINGS.items():
        if (ceiling := getattr(ceilings, name)) is not None:
            done = getattr(spent, name)
            figures = ",.2f" if ceiling >= 1 else ".4g"
            shown = [f"{n:{figures}}" if name == "cost" else in_units(n) for n in (done, ceiling)]
            yield f"{words} {shown[0]} of {shown[1]} spent"


def _passed(plan: LabelPlan, ceilings: Ceilings, spent: Amount) -> Iterator[str]:
    """Yield the ceilings that spending what is forecast would pass."""
    for name, words in CEILINGS.items():
        ceiling, forecast = getattr(ceilings, name), "asked" if name == "documents" else name
        to_come = sum(getattr(entry, forecast) for entry in plan.forecasts)
        if ceiling is not None and to_come and getattr(spent, name) + to_come > ceiling:
            yield words


def _amount(amount: Amount) -> str:
    tokens = f"{in_units(amount.input_tokens)} tokens in, {in_units(amount.output_tokens)} out"
    return tokens + (f", cost {amount.cost:,.4g}" if amount.cost else "")
