"""The page on a labelling task: what was asked and answered, by whom, what it cost, how far annotators agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gristmill.pipelines.html import page
from gristmill.pipelines.html.curve_charts import column_chart
from gristmill.pipelines.html.heat_map import HeatMap, heat_map
from gristmill.pipelines.html.svg import figure, horizontal_bar
from gristmill.pipelines.label.budget import NIGHT, Amount
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.report.task_facts import Ceiling, TaskFacts, label_names
from gristmill.pipelines.storage import files

#: The page of a task, in its folder of the label store.
REPORT = "report.html"
#: Labels, sources and nights that have rows of their own.
_SHOWN_LABELS, _SHOWN_SOURCES, _SHOWN_NIGHTS = 40, 30, 60
_SHOWN_REASONS = 20
_LONGEST = 400
_CEILINGS = {"documents": "texts", "input_tokens": "input tokens", "output_tokens": "output tokens", "cost": "cost"}


def label_page_url(store: LabelStore) -> str:
    """Return the place of the page on a task."""
    return files.join(store.url, REPORT)


def label_page(loaded: LoadedTask, store: LabelStore, facts: TaskFacts, examples: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the page on a task of a label store; `examples` are those of `label_examples`."""
    agreement = facts.agreement or {}
    answered = sum(about["answers"] for about in facts.annotators)
    return page.render(
        "label.html",
        task=loaded,
        facts=facts,
        fingerprint=store.fingerprint,
        sources=store.task().get("sources", ()),
        answered=answered,
        annotators=_annotators(facts),
        ceilings=[_ceiling(ceiling) for ceiling in facts.ceilings],
        waiting=_total(facts.waiting),
        nights=_nights(facts.nights),
        mixes=[_mix(name, counts) for name, counts in facts.mix.items()],
        by_source=_by_source(loaded, facts),
        sure=[(name, _sure_chart(name, counts), counts) for name, counts in facts.sure.items()],
        agreement=agreement.get("agreement"),
        quality=agreement.get("quality", ()),
        aggregated=agreement,
        kappas=[_kappa(pair) for pair in agreement.get("agreement", {}).get("pairs", ())],
        compared=[
            (each, heat_map(each.counts.tolist(), each.labels, each.labels, each.first, each.second, diagonal=True))
            for each in facts.compared
        ],
        rejected=facts.rejected[:_SHOWN_REASONS],
        other_reasons=len(facts.rejected[_SHOWN_REASONS:]),
        n_rejected=sum(row["answers"] for row in facts.rejected),
        some_rejected=[{**row, "raw": (row["raw"] or "")[:_LONGEST]} for row in facts.some_rejected],
        examples=examples,
        written=yaml.safe_dump(loaded.as_written, sort_keys=False, allow_unicode=True),
    )


def _annotators(facts: TaskFacts) -> list[dict[str, Any]]:
    """Return what each annotator has answered, each with a bar of answers, invalid ones and abstentions."""
    most = max([1, *(_asked(about) for about in facts.annotators)])
    return [
        {
            **about,
            "bar": horizontal_bar(
                [
                    (about["answers"] / most, "kept"),
                    ((about["invalid"] + about["abstained"]) / most, "dropped"),
                ],
                f"{about['annotator']}: {about['answers']:,} of {_asked(about):,} answers are valid",
            ),
            "waits": facts.waiting.get(about["annotator"], Amount()).documents,
        }
        for about in facts.annotators
    ]


def _asked(about: Mapping[str, Any]) -> int:
    return int(about["answers"] + about["invalid"] + about["abstained"])


def _ceiling(ceiling: Ceiling) -> dict[str, Any]:
    share = ceiling.spent / ceiling.limit if ceiling.limit else 1.0
    what = _CEILINGS[ceiling.name.removeprefix(NIGHT)]
    name = f"{what}, of the last night" if ceiling.name.startswith(NIGHT) else what
    left = max(0, ceiling.limit - ceiling.spent)
    told = f"{name}: {figure(ceiling.spent)} of {figure(ceiling.limit)} spent"
    return {
        "name": name,
        "spent": ceiling.spent,
        "limit": ceiling.limit,
        "left": left,
        "bar": horizontal_bar([(min(1.0, share), "kept")], told),
    }


def _total(amounts: Mapping[str, Amount]) -> Amount:
    total = Amount()
    for amount in amounts.values():
        total = total.plus(amount)
    return total


def _nights(nights: Mapping[str, Amount]) -> dict[str, Any]:
    """Return what was spent by night, the newest ones, with a chart of the texts where there are several."""
    shown = [*nights.items()][-_SHOWN_NIGHTS:]
    chart = None
    if len(shown) > 1:
        columns = [(night, float(amount.documents)) for night, amount in shown]
        chart = column_chart(columns, f"Texts answered by night, in {len(shown)} nights", wide=True)
    return {"rows": [{"night": night, **amount._asdict()} for night, amount in shown], "chart": chart}


def _mix(name: str, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the answers of an annotator as rows of label, number and bar."""
    total = max(1, sum(counts.values()))
    most = max([1, *counts.values()])
    shown = [*counts.items()]
    if len(shown) > _SHOWN_LABELS:
        shown = sorted(shown, key=lambda item: -item[1])[:_SHOWN_LABELS]
    rows = [
        {
            "label": label,
            "n": n,
            "share": n / total,
            "bar": horizontal_bar([(n / most, "kept")], f"{label}: {n:,} answers of {name}"),
        }
        for label, n in shown
    ]
    return {"annotator": name, "rows": rows, "others": len(counts) - len(shown)}


def _by_source(loaded: LoadedTask, facts: TaskFacts) -> HeatMap | None:
    labels = label_names(loaded)
    if labels is None or not facts.by_source:
        return None
    totals = {source: sum(counts.values()) for source, counts in facts.by_source.items()}
    shown = sorted(totals, key=lambda source: (-totals[source], source))[:_SHOWN_SOURCES]
    given = [label for label in labels if any(facts.by_source[source][label] for source in shown)]
    counts = [[facts.by_source[source][label] for label in given] for source in shown]
    return heat_map(counts, shown, given, "Source", "answer")


def _sure_chart(name: str, counts: Sequence[int]) -> Any:
    columns = [(f"{i / len(counts):.2f}", float(n)) for i, n in enumerate(counts)]
    return column_chart(columns, f"How sure {name} is: answers by probability, from 0 to 1")


def _kappa(pair: Mapping[str, Any]) -> dict[str, Any]:
    kappa = pair["kappa"]
    shade = "" if kappa is None else f"{'p' if kappa >= 0 else 'n'}{max(0, round(10 * abs(kappa)))}"
    return {**pair, "shade": shade}
