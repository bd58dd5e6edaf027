"""Decisions: from the narrow columns of all shards to one per document. Only `text_similarity` reads text.

Every step is a pass over shards or key partitions, as items of an engine; no process needs the rows of all shards.
"""

from gristmill.pipelines.decide.driver import DECISIONS, decide
from gristmill.pipelines.decide.executors import executor_for, given_columns, rule_names
from gristmill.pipelines.decide.funnel import Decided, RuleCount, ShardKept
from gristmill.pipelines.decide.groups import GroupLoss, grouped_by
from gristmill.pipelines.decide.rule_columns import given_file, given_parts, with_given
from gristmill.pipelines.decide.rules.exact_dedup import RepeatedValues, count_duplicates
from gristmill.pipelines.decide.shards import ShardColumns

__all__ = [
    "DECISIONS",
    "Decided",
    "GroupLoss",
    "RepeatedValues",
    "RuleCount",
    "ShardColumns",
    "ShardKept",
    "count_duplicates",
    "decide",
    "executor_for",
    "given_columns",
    "given_file",
    "given_parts",
    "grouped_by",
    "rule_names",
    "with_given",
]
