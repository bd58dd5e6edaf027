"""A real language model, trained once for all tests of a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The folder of a model that knows the tasks TOPIC and TOPICS of tests.label_model; only for tests marked `lm`."""
    import torch

    from tests.label_model import cached_tiny_model

    torch.set_num_threads(1)  # threads that wait for one another take many times as long on a busy machine
    return cached_tiny_model()
