"""Resources that an annotator's replicas need of a Ray cluster, compared with those there before anything starts.

Actors hold their resources to the end: if they take every CPU, the tasks that feed them never run, and Ray waits in
silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import plural
from gristmill.pipelines.label.annotators import VllmAnnotator

Resources = Mapping[str, float]  # amounts by Ray's names: CPU, GPU, ...
READERS = 1.0  # CPUs that are left to make questions with
_A_KIND = 0.001  # amount that Ray takes of the resource that names a kind of GPU


@dataclass(frozen=True)
class Placement:
    """Replicas of a model that run side by side, each spread over workers with the same resources."""

    replicas: int
    workers: int
    resources: dict[str, float]  #: of one worker

    def check(self, who: str, nodes: Sequence[Resources]) -> None:
        """Raise RecipeError if the nodes of a cluster have no room for the replicas and one reader.

        who: the annotator's name. nodes: the resources of each node.
        """
        fitting = self.fitting(nodes)
        if self.replicas <= fitting:
            return
        totals = sum((Counter(node) for node in nodes), Counter[str]())
        names = list({**self.resources, "CPU": READERS})
        summary = " and ".join(f"{totals[name]:g} {name}" for name in names)
        raise RecipeError(
            f"{who} asks for {plural(self.replicas, 'engine')} of {plural(self.workers, 'worker')} with "
            f"{_shown(self.resources)} each, and for 1 CPU to read documents with. The Ray cluster has {summary} on "
            f"{plural(len(nodes), 'node')}: room for {plural(fitting, 'engine')}. {self._remedy(fitting, totals)}"
        )

    def fitting(self, nodes: Sequence[Resources]) -> int:
        """Return the number of replicas that fit, each worker on one node, so that a reader's CPU is left."""
        places = sum(int(min(node.get(name, 0.0) / amount for name, amount in self._needs())) for node in nodes)
        cpus_each = self.workers * self.resources.get("CPU", 0.0)
        spare = sum(node.get("CPU", 0.0) for node in nodes) - READERS
        if spare < 0:
            return 0
        return min(places // self.workers, int(spare / cpus_each)) if cpus_each else places // self.workers

    def _needs(self) -> list[tuple[str, float]]:
        return [(name, amount) for name, amount in self.resources.items() if amount > 0] or [("CPU", READERS)]

    def _remedy(self, fitting: int, there: Counter[str]) -> str:
        if fitting:
            return f"Set replicas: {fitting}, or add nodes"
        if self.resources.get("GPU") and not there["GPU"]:
            return "Add nodes with GPUs; vLLM built for CPUs takes placement: {CPU: 1}"
        return "Ask for less of what is short, or add nodes that have it"


def vllm_placement(annotator: VllmAnnotator) -> Placement:
    """Return the placement that the replicas of a vllm annotator need."""
    workers = annotator.tensor_parallel * int(annotator.engine_kwargs.get("pipeline_parallel_size", 1))
    # Ray schedules the actor of a replica of several workers inside their bundles, in which it needs a CPU.
    resources = {"CPU": 1.0, **annotator.placement}
    if annotator.accelerator:
        resources[f"accelerator_type:{annotator.accelerator}"] = _A_KIND
    return Placement(annotator.replicas, workers, resources)


def _shown(resources: Resources) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
