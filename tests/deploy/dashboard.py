"""The Grafana dashboard of deploy/."""

from __future__ import annotations

import json
import re
from pathlib import Path

from gristmill.pipelines.engine.ray_data import STATES

FILE = Path(__file__).parents[2] / "deploy" / "grafana" / "gristmill.json"
#: Figures that nodes have while a run is at work, and no longer.
PASSING = {f"ray_gristmill_{name}" for name in STATES}


def figures() -> set[str]:
    """Names of the metrics that its panels ask for."""
    targets = (target for panel in json.loads(FILE.read_text())["panels"] for target in panel["targets"])
    return {name for target in targets for name in re.findall(r"\bray_\w+", target["expr"])}
