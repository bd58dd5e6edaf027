"""Remarks on a funnel in words: what each rule went by, and what deserves a look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.decide.funnel import RuleCount

#: A rule that drops more than this share of what it sees is pointed out, unless it says what to expect.
REMARKABLE = 0.4
#: A cluster of near copies that holds more than this share of what the rule sees is pointed out.
LARGE = 0.1
#: Bands that catch less than this share of the pairs midway between the threshold and 1 do not suit it.
REACHED = 0.8
#: The number of a rule's conditions that are shown.
SHOWN_CONDITIONS = 4
#: The number of languages, or other values, that a rule judges and that are shown.
SHOWN_VALUES = 10


def remarkable(rule: RuleCount) -> bool:
    """Return whether a rule took more than expected. A selection and a quantile are asked to: they do not count."""
    if "budget" in rule.details or not rule.seen:
        return False
    conditions: Mapping[str, int] = rule.details.get("conditions", {})
    quantile_drops = sum(n for condition, n in conditions.items() if "quantile(" in condition)
    return (rule.dropped - quantile_drops) / rule.seen > float(rule.details.get("expect", REMARKABLE))


def remarks(rule: RuleCount) -> list[str]:
    """Return remarks on what a rule went by: its conditions, what it learnt of the corpus, how far a selection goes."""
    details = rule.details
    lines = []
    conditions = sorted(details.get("conditions", {}).items(), key=lambda item: -item[1])
    if len(conditions) > 1:
        shown = [f"{n:,} by {condition}" for condition, n in conditions[:SHOWN_CONDITIONS] if n]
        lines.append(", ".join(shown) + (", ..." if len(conditions) > SHOWN_CONDITIONS else ""))
    if details.get("not_judged", {}).get("documents"):
        passed, values = details["not_judged"], details["not_judged"]["judged"]
        judged = ", ".join(values[:SHOWN_VALUES]) + (", ..." if len(values) > SHOWN_VALUES else "")
        lines.append(f"{plural(passed['documents'], 'document')} not judged: their {passed['column']} is not {judged}")
    lines += [f"{name} is {_figure(value)}" for name, value in details.get("quantiles", {}).items()]
    if details.get("largest_groups"):
        largest = details["largest_groups"][0]["copies"]
        lines.append(f"{plural(details['groups'], 'set')} of copies, the largest of {largest:,} documents")
    lines += _cluster_remarks(details) if "clusters" in details else []
    lines += _removal_remarks(details) if details.get("repeated") else []
    if taken := details.get("earlier"):
        lines.append(f"earlier nights have taken {taken:,} {details['unit']} of the budget")
    if unseen := details.get("earlier_without"):
        names, verb = ", ".join(unseen["columns"]), "has" if unseen["shards"] == 1 else "have"
        shards = plural(unseen["shards"], "shard")
        lines.append(f"{shards} of earlier nights {verb} no {names}: this rule looks at none of their documents")
    if "effective_size" in details:
        lines.append(_sample_remark(details))
    if "kl_reduction" in details:
        lines.append(f"KL reduction {_figure(details['kl_reduction'])}")
    return [remark for remark in lines if remark]


def _sample_remark(told: Mapping[str, Any]) -> str:
    """Return a remark on how evenly documents are drawn: how many of equal weight would count as much."""
    before, after = _figure(told["effective_size_before"]), _figure(told["effective_size"])
    selected = sum(group["documents"] for group in told["groups"])
    taken_all = selected == sum(group["candidates"] for group in told["groups"])
    if taken_all or not 0 < told["effective_size_before"] < selected:
        return (
            f"effective sample size (documents of equal weight that would count as much) {before} before, {after} after"
        )
    return (
        f"effective sample size {before} before, {after} after: a few weights outweigh all others, so the "
        f"{plural(selected, 'document')} are nearly those of the largest {told['by']} and no sample in proportion to "
        "the weights; a higher `temperature` evens them out"
    )


def _cluster_remarks(told: Mapping[str, Any]) -> list[str]:
    """Return remarks on how candidates were found, and on the pairs and clusters among them."""
    quality, pairs = told["quality"], plural(told["candidates"], "candidate pair")
    reach = f", {quality['precision']:.1%} of them reach {told['threshold']:g}" if "precision" in quality else ""
    lines = [f"{pairs} by {told['bands']} bands of {told['rows']} rows{reach}"]
    if "recall" in quality:
        lines.append(f"the bands catch an estimated {quality['recall']:.1%} of the pairs that do")
    if told["largest_clusters"]:
        largest = told["largest_clusters"][0]["size"]
        lines.append(f"{plural(told['clusters'], 'cluster')}, the largest of {largest:,} documents")
    if told.get("texts_read"):
        lines.append(f"read {plural(told['texts_read'], 'text')} again to compare candidates")
    return lines


def _removal_remarks(told: Mapping[str, Any]) -> list[str]:
    """Return remarks on what repeats in the documents, and how much of them is removed."""
    removals, most = told["removed"], told["most_frequent"][0]["documents"]
    pieces, documents = plural(removals["pieces"], told["by"]), plural(removals["documents"], "document")
    repeated = plural(told["repeated"], told["by"])
    return [
        f"{repeated} in more than {plural(told['limit'], 'document')}, the most frequent in {most:,}",
        f"{pieces} ({removals['bytes'] / 1e6:,.1f} MB) removed from {documents}",
    ]


def warnings(rule: RuleCount) -> list[str]:
    """Return warnings of a rule: a large loss or cluster, unsuitable bands, null keys, a shortage."""
    lines = []
    if remarkable(rule):
        conditions: Mapping[str, int] = rule.details.get("conditions", {})
        mostly = f", most of them by {max(conditions, key=conditions.__getitem__)}" if len(conditions) > 1 else ""
        lines.append(
            f"drops {rule.dropped / rule.seen:.0%} of the documents that reach it{mostly}: is that meant? If so, "
            f"`expect: {_rounded_up(rule.dropped / rule.seen):g}` in the rule says it"
        )
    if rule.details.get("largest_clusters") and rule.details["largest_clusters"][0]["size"] > LARGE * rule.seen:
        share = rule.details["largest_clusters"][0]["size"] / rule.seen
        lines.append(f"puts {share:.0%} of the documents that reach it into one cluster: see `gristmill clusters`")
    if "clusters" in rule.details and rule.details["quality"]["caught_midway"] < REACHED:
        details, quality = rule.details, rule.details["quality"]
        midway = f"{quality['caught_midway']:.0%} of the pairs with a similarity of {(1 + details['threshold']) / 2:g}"
        banding = f"{details['bands']} bands of {details['rows']} rows"
        lines.append(f"finds only {midway}: {banding} do not suit the threshold {details['threshold']:g}")
    if rule.details.get("never_taken"):
        missing = plural(rule.details["never_taken"], "document")
        lines.append(f"never takes {missing} whose {rule.details['by']} is null")
    if "shortage" in rule.details:
        lines.append(rule.details["shortage"])
    return lines


def _rounded_up(share: float) -> float:
    """Return the next tenth above a share."""
    return min(1.0, (int(share * 10) + 1) / 10)


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
