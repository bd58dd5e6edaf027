"""Engines: the same work on threads (`local`) or Ray tasks (`ray`), to the same bytes. Nothing here knows recipes."""

from __future__ import annotations

import os
from typing import Literal

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine

EngineName = Literal["auto", "local", "ray"]


def open_engine(name: EngineName, workers: int | None) -> Engine:
    """Open the engine asked for; `auto` takes Ray inside a Ray job or with RAY_ADDRESS set, threads otherwise."""
    if name == "ray" or (name == "auto" and os.environ.get("RAY_ADDRESS")):
        from gristmill.pipelines.engine.ray_data import RayEngine

        return RayEngine(workers)
    return LocalEngine(workers)
