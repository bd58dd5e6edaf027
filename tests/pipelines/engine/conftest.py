"""One small Ray cluster for all tests of this folder that are marked `ray`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[Engine]:
    """The engine that started the cluster; engines opened beside it join the cluster and leave it running."""
    from gristmill.pipelines.engine.ray_data import RayEngine

    engine = RayEngine(2)
    yield engine
    engine.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    engines: dict[str, Callable[[], Engine]] = {
        "local": lambda: LocalEngine(2),
        "ray": lambda: request.getfixturevalue("ray_engine"),
    }
    return engines[request.param]()
