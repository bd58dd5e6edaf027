"""Every kind of file of a store, damaged: the damage is found, or harmless because the file is made again."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from tests.reliability.damage import ACTIONS, DAMAGES, Stage, Trial


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "index"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("damage"), index=request.param)


def trials(stage: Stage, each: int, seed: int = 0) -> list[Trial]:
    """Trials of every kind of file with every damage and action, `each` of a sort."""
    draw = random.Random(seed)
    combinations = itertools.product(stage.kinds().values(), DAMAGES, ACTIONS, range(each))
    return [
        Trial(draw.choice(paths), damage, action, draw.randrange(1 << 30)) for paths, damage, action, _ in combinations
    ]


def check(stage: Stage, chosen: list[Trial]) -> Counter[str]:
    outcomes = {str(trial): stage.run(trial) for trial in chosen}
    wrong = {trial: outcome for trial, outcome in outcomes.items() if outcome not in ("found", "harmless")}
    assert not wrong
    return Counter(outcomes.values())


def test_damage_is_found_or_harmless(stage: Stage) -> None:
    some = random.Random(1).sample(trials(stage, 1), 24)
    counted = check(stage, some)
    assert counted["found"] > 3
    assert counted["harmless"] > 3


@pytest.mark.slow
def test_every_kind_of_damage_is_found_or_harmless(stage: Stage) -> None:
    chosen = trials(stage, 2)
    assert len(chosen) >= 150
    check(stage, chosen)
