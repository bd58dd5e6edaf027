"""The engines, one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    engines: dict[str, Callable[[], Engine]] = {
        "local": lambda: LocalEngine(2),
        "ray": lambda: request.getfixturevalue("ray_engine"),
    }
    return engines[request.param]()
