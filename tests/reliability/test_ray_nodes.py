"""A cluster of two nodes, one of which is lost while it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability.command import ROOT, gristmill, tree

DRIVER = """
import os, sys, threading, time
from functools import partial
from pathlib import Path

os.environ["PYTHONPATH"] = os.getcwd()
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
lost = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
os.environ["RAY_ADDRESS"] = cluster.address
recipe, store = sys.argv[1:]

def lose_a_node():
    while not list(Path(store).glob("measures/*/0*.parquet")):
        time.sleep(0.01)
    cluster.remove_node(lost, allow_graceful=False)
    print("lost a node", flush=True)

threading.Thread(target=lose_a_node, daemon=True).start()
from gristmill.pipelines.engine import open_engine
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.stages.run import run

result = run(load_recipe(recipe, ["store=" + store]), partial(open_engine, "auto", None), Reporter(quiet=True))
print("measured", result.measured_now, flush=True)
import ray
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.ray
def test_a_node_lost_in_the_middle_does_not_show(recipe: Path) -> None:
    assert gristmill("run", recipe)[0] == 0
    store = recipe.parent / "store-of-two-nodes"
    line = [sys.executable, "-c", DRIVER, str(recipe), str(store)]
    ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()  # and what Ray says of the lost node
    assert "lost a node" in said
    assert "measured 16" in said
    assert tree(store / "datasets") == tree(recipe.parent / "store" / "datasets")
