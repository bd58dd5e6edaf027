"""Report on the rounds of a loop: sentences, a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.pipelines.train.loop_state import RANDOM, SAMPLED
from gristmill.pipelines.train.student_report import table_lines

HEADS = ("round", "labels", "by the sampler", "at random", "ahead by")
_WIDTH, _HEIGHT = 640, 400
_COLOURS = ("#2c3e50", "#c0392b")
_MARGIN = 0.05  # of the range of qualities, above and below


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the rounds as rows of text: those of HEADS, each quality with its interval of 95 %."""
    return [
        [
            str(row["round"]),
            f"{row[f'{RANDOM}_labels']:,}",
            *(_told(row.get(side), "", "-") for side in (SAMPLED, RANDOM)),
            _told(row.get("ahead"), "+", " to "),
        ]
        for row in rows
    ]


def _told(interval: Sequence[float] | None, sign: str, between: str) -> str:
    if interval is None:
        return "-"
    value, low, high = interval
    return f"{value:{sign}.3f} ({low:{sign}.2f}{between}{high:{sign}.2f})"


def sentences(rows: Sequence[Mapping[str, Any]], sampler: str) -> list[str]:
    """Return what the rounds come to: the last quality, and whether the sampler has beaten random texts."""
    if not rows:
        return []
    last = rows[-1]
    about = f"{last['measure']} on {last['tested']:,} texts that no student has seen"
    if "tested_with_label" in last:
        about += f", {last['tested_with_label']:,} of them with the label"
    told = [f"{last['asked']:,} texts were asked about in {len(rows)} rounds; quality is {about}"]
    if "ahead" not in last:
        return told
    value, low, high = last["ahead"]
    verdict = "is ahead of" if low > 0 else "is behind" if high < 0 else "cannot be told from"
    told.append(f"the sampler {sampler} {verdict} as many random texts: by {value:+.3f} ({low:+.3f} to {high:+.3f})")
    return told


def markdown(rows: Sequence[Mapping[str, Any]], sampler: str) -> str:
    """Return the rounds as a page in Markdown, the plot beside it."""
    lines = ["# Rounds", "", *(f"- {sentence[0].upper()}{sentence[1:]}." for sentence in sentences(rows, sampler))]
    return "\n".join([*lines, "", *table_lines(HEADS, table_rows(rows)), "", "![quality by labels](rounds.svg)", ""])


def plot(rows: Sequence[Mapping[str, Any]], sampler: str) -> bytes:
    """Return quality by the number of labels as SVG: a line for each side, dots for the bounds of its interval."""
    from leather import Chart

    lines = {"random": [(row[f"{RANDOM}_labels"], row[RANDOM]) for row in rows]}
    if SAMPLED in rows[-1]:  # in the first round it is as the other side
        lines[sampler] = [
            (row.get(f"{SAMPLED}_labels", row[f"{RANDOM}_labels"]), row.get(SAMPLED, row[RANDOM])) for row in rows
        ]
    bounds = [bound for points in lines.values() for _, interval in points for bound in interval]
    room = max(_MARGIN * (max(bounds) - min(bounds)), 1e-3)
    chart = Chart(f"{rows[-1]['measure']} by labels")
    chart.add_x_scale(0, max(labels for points in lines.values() for labels, _ in points))
    chart.add_y_scale(min(bounds) - room, max(bounds) + room)
    for (name, points), colour in zip(lines.items(), _COLOURS, strict=False):
        chart.add_line([(labels, value) for labels, (value, _, _) in points], name=name, stroke_color=colour)
        ends = [(labels, end) for labels, interval in points for end in interval[1:]]
        chart.add_dots(ends, name=f"{name}, 95 %", fill_color=colour, radius=2)
    svg: str = chart.to_svg(width=_WIDTH, height=_HEIGHT)
    return svg.encode()
