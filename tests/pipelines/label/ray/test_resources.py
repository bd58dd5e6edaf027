"""What replicas need of a cluster: as many are said to fit as can be packed into its nodes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.label.annotators import VllmAnnotator
from gristmill.pipelines.label.ray.resources import Placement, vllm_placement


def annotator(**options: Any) -> VllmAnnotator:
    return VllmAnnotator.model_validate({"name": "big", "engine": "vllm", "model": "m", **options})


def packed(workers: int, cpu: int, gpu: int, nodes: list[tuple[int, int]]) -> int:
    """The most replicas that fit with one CPU left, by trying every number of workers on each node."""
    best = 0
    for counts in itertools.product(range(5), repeat=len(nodes)):
        fits = all(n * cpu <= cpus and n * gpu <= gpus for n, (cpus, gpus) in zip(counts, nodes, strict=True))
        engines = sum(counts) // workers
        if fits and sum(cpus for cpus, _ in nodes) - engines * workers * cpu >= 1:
            best = max(best, engines)
    return best


@given(
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3),
)
def test_as_many_engines_fit_as_can_be_packed(workers: int, cpu: int, gpu: int, nodes: list[tuple[int, int]]) -> None:
    if cpu == gpu == 0:
        return
    resources = {"CPU": float(cpu), "GPU": float(gpu)}
    fitting = Placement(1, workers, resources).fitting([{"CPU": float(c), "GPU": float(g)} for c, g in nodes])
    assert fitting == packed(workers, cpu, gpu, nodes)


def test_a_worker_needs_a_gpu_and_a_cpu_unless_told_otherwise() -> None:
    assert vllm_placement(annotator()) == Placement(1, 1, {"CPU": 1.0, "GPU": 1.0})
    assert vllm_placement(annotator(placement={"CPU": 4})) == Placement(1, 1, {"CPU": 4.0})
    spread = annotator(tensor_parallel=4, engine_kwargs={"pipeline_parallel_size": 2}, replicas=3, accelerator="H100")
    assert vllm_placement(spread) == Placement(3, 8, {"CPU": 1.0, "GPU": 1.0, "accelerator_type:H100": 0.001})


@pytest.mark.parametrize(
    ("options", "nodes", "message"),
    [
        (
            {"replicas": 3, "tensor_parallel": 2},
            [{"CPU": 8.0, "GPU": 4.0}],
            "big asks for 3 engines of 2 workers with 1 CPU and 1 GPU each, and for 1 CPU to read documents with. "
            "The Ray cluster has 8 CPU and 4 GPU on 1 node: room for 2 engines. Set replicas: 2, or add nodes",
        ),
        (
            {},
            [{"CPU": 2.0}],
            "big asks for 1 engine of 1 worker with 1 CPU and 1 GPU each, and for 1 CPU to read documents with. The "
            "Ray cluster has 2 CPU and 0 GPU on 1 node: room for 0 engines. Add nodes with GPUs; vLLM built for CPUs "
            "takes placement: {CPU: 1}",
        ),
        (
            {"placement": {"CPU": 2}},
            [{"CPU": 1.0}, {"CPU": 2.0}],
            None,
        ),
        (
            {"placement": {"CPU": 2}},
            [{"CPU": 2.0}],
            "big asks for 1 engine of 1 worker with 2 CPU each, and for 1 CPU to read documents with. The Ray cluster "
            "has 2 CPU on 1 node: room for 0 engines. Ask for less of what is short, or add nodes that have it",
        ),
    ],
)
def test_messages_say_what_is_asked_what_there_is_and_what_to_do(
    options: dict[str, Any], nodes: list[dict[str, float]], message: str | None
) -> None:
    placement = vllm_placement(annotator(**options))
    if message is None:
        placement.check("big", nodes)
        return
    with pytest.raises(RecipeError) as caught:
        placement.check("big", nodes)
    assert str(caught.value) == message
