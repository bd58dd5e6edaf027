"""Documents on the console: what became of one, examples of dropped ones, clusters of near copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gristmill.pipelines.config.quoting import in_one_line
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.progress.console import literal
from gristmill.pipelines.report.clusters import Stretch
from gristmill.pipelines.report.explain import sentence
from gristmill.pipelines.stages.quarantine import where

_STYLES = {"=": "", "-": "red strike", "+": "green", "…": "dim"}
_MARKS = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}", "…": "{}"}
#: Of the lines that transforms took out of a document, those that are shown, and the characters of each.
_MOST_LINES = 20
_LINE = 160


def show_documents(documents: list[dict[str, Any]], console: Console) -> None:
    """Print what `explain` found."""
    if len(documents) > 1:
        console.print(f"{len(documents)} records bear this id", style="yellow")
    for document in documents:
        if "quarantined" in document:
            _show_reject(document["quarantined"], console)
        else:
            _show_document(document, console)


def _show_reject(reject: dict[str, Any], console: Console) -> None:
    console.print(reject["id"] or "(no id)", style="bold", markup=False)
    console.print(
        f"  quarantined: {reject['reason']}, {where(reject)}: {reject['detail']}", style="yellow", markup=False
    )
    console.print(f"  {reject['excerpt']}", style="dim", markup=False)


def _show_document(document: dict[str, Any], console: Console) -> None:
    console.print(document["id"], style="bold", markup=False)
    place = f"source {document['source']}, {document['file']} row {document['row']}, address {document['address']}"
    console.print(f"  {place}", style="dim", markup=False)
    for fate in document["fates"]:
        console.print(f"  {fate['dataset']}: {sentence(fate)}", style="green" if fate["kept"] else "red", markup=False)
        for cluster in fate["clusters"]:
            _show_cluster(document, cluster, console)
        _show_removed_lines(fate, console)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in document.items():
        if name not in ("id", "source", "address", "file", "row", "fates", "excerpt"):
            text = "null" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
            table.add_row("  " + name, text)
    console.print(table)
    for fate in document["fates"]:
        if "student" in fate:
            _show_score(fate["student"], console)


def _show_score(score: Mapping[str, Any], console: Console) -> None:
    """Print what adds to a score and what takes from it: words, then examples."""
    probability = f", probability {score['probability']:.3f}" if "probability" in score else ""
    console.print(f"  score of {score['label']} {score['score']:+.3f}{probability}", style="bold")
    for entry in score["ngrams"]:
        console.print(f"    {entry['added']:+.3f}  {in_one_line(entry['ngram'])}")
    console.print(f"    {score['other_ngrams']:+.3f}  all other words", style="dim")
    console.print("  by the examples that taught it:")
    for entry in score["examples"]:
        label = f"{score['label']} {entry['target']:.2f}"
        console.print(f"    {entry['added']:+.3f}  {entry['id']} ({label}): {in_one_line(entry['excerpt'][:_LINE])}")
    console.print(f"    {score['other_examples']:+.3f}  all other examples", style="dim")


def _show_cluster(document: Mapping[str, Any], cluster: Mapping[str, Any], console: Console) -> None:
    """Print a document's cluster, its text and that of the document kept in its place."""
    console.print(f"  {cluster['rule']}: in a cluster of {cluster['size']:,} documents", style="dim", markup=False)
    if "unreadable" in cluster:
        console.print(f"  the text cannot be shown: {cluster['unreadable']}", style="yellow", markup=False)
        return
    console.print(f"    {document['excerpt']}", style="dim", markup=False)
    if cluster["survivor"] != document["address"]:
        similarity = "" if cluster["similarity"] is None else f" (similarity {cluster['similarity']:.3f})"
        by = ", by what the index holds" if cluster["earlier"] else ""
        console.print(f"  kept in its place{by}: {cluster['survivor_id']}{similarity}", style="dim", markup=False)
        if cluster["survivor_excerpt"] is not None:
            console.print(f"    {cluster['survivor_excerpt']}", style="dim", markup=False)


def _show_removed_lines(fate: Mapping[str, Any], console: Console) -> None:
    """Print the lines that transforms took out of a document, each behind what took it."""
    if "removed_lines_unreadable" in fate:
        why = fate["removed_lines_unreadable"]
        console.print(f"  the lines that went cannot be shown: {why}", style="yellow", markup=False)
    lines = fate["removed_lines"]
    for transform in dict.fromkeys(line["transform"] for line in lines):
        counts = Counter(line["by"] for line in lines if line["transform"] == transform)
        reasons = ", ".join(f"{n:,} by {by}" for by, n in counts.most_common())
        console.print(f"  {transform} took out {plural(counts.total(), 'line')}: {reasons}", style="dim", markup=False)
    widest = max((len(line["by"]) for line in lines), default=0)
    for line in lines[:_MOST_LINES]:
        text = in_one_line(line["line"][:_LINE])
        console.print(f"    {line['by']:<{widest}}  {text}".rstrip(), style="dim", markup=False)
    if len(lines) > _MOST_LINES:
        console.print(f"    ... and {len(lines) - _MOST_LINES:,} more; --json shows all", style="dim", markup=False)


def show_examples(chosen: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print the examples."""
    for document in chosen:
        console.print(f"{document['id']}", style="bold", markup=False)
        console.print(f"  {sentence(document)}", style="red", markup=False)
        console.print(f"  {document['excerpt']}", style="dim", markup=False)


def show_clusters(found: Sequence[dict[str, Any]], console: Console) -> None:
    """Print clusters; a diff in colours on a terminal, elsewhere with marks [-only kept-]{+only lost+}."""
    if not found:
        console.print("there are no clusters")
    for cluster in found:
        survivors = plural(cluster["survivors"], "survivor")
        console.print(
            f"cluster {cluster['cluster']} of {cluster['rule']}: {cluster['size']:,} documents, {survivors}",
            style="bold",
            markup=False,
        )
        for member in cluster["members"]:
            like = "" if member["similarity"] is None else f" (similarity {member['similarity']:.3f})"
            by = ", which the index holds" if member["earlier"] else ""
            dropped = f"{member['id']} dropped as a near-duplicate of {member['survivor_id']}{like}{by}"
            console.print(f"  {dropped}", style="yellow", markup=False)
            if not member["earlier"]:
                console.print(literal("  ").append_text(rendered(member["diff"], console.is_terminal)))


def rendered(diff: Sequence[Stretch], colours: bool) -> Text:
    """Return a word diff in one paragraph."""
    if colours:
        return literal(" ").join(literal(words, _STYLES[kind]) for kind, words in diff)
    return literal(" ".join(_MARKS[kind].format(words) for kind, words in diff))
