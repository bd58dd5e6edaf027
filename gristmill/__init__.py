"""Curate text corpora into training data: measure every document once, decide globally, write versioned Parquet.

    import gristmill

    result = gristmill.run("recipe.yaml")
    print(result.funnel.kept, "documents in", result.dataset)

`import gristmill` loads nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.api import (
        aggregate_labels,
        audit_labels,
        classifier_feed,
        distil,
        explain,
        label,
        load_recipe,
        loop,
        mix,
        open_dataset,
        open_mixture,
        open_packed,
        plan,
        query,
        refresh,
        release_mixture,
        report,
        run,
        sweep,
        thresholds,
        what_if,
    )
    from gristmill.operators.base import FittedMeasure, Measure, Rule, Transform
    from gristmill.operators.errors import (
        FatalError,
        GaveUp,
        GristmillError,
        RecipeError,
        RetryableError,
        ShardError,
        StoreDamaged,
        StoreLocked,
    )

__all__ = [
    "FatalError",
    "FittedMeasure",
    "GaveUp",
    "GristmillError",
    "Measure",
    "RecipeError",
    "RetryableError",
    "Rule",
    "ShardError",
    "StoreDamaged",
    "StoreLocked",
    "Transform",
    "__version__",
    "aggregate_labels",
    "audit_labels",
    "classifier_feed",
    "distil",
    "explain",
    "label",
    "load_recipe",
    "loop",
    "mix",
    "open_dataset",
    "open_mixture",
    "open_packed",
    "plan",
    "query",
    "refresh",
    "release_mixture",
    "report",
    "run",
    "sweep",
    "thresholds",
    "what_if",
]

_CONTRACTS = ("FittedMeasure", "Measure", "Rule", "Transform")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        return _version()
    home = "operators.base" if name in _CONTRACTS else "operators.errors" if name[0].isupper() else "api"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return [*__all__]


def _version() -> str:
    """Return the installed version, or `0+source` where gristmill is only a folder on the path."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("gristmill")
    except PackageNotFoundError:
        return "0+source"
