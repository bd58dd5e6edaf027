"""What a person is told before and after a labelling run."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.label.budget import NOTHING, Amount, Budget
from gristmill.pipelines.label.forecast import Forecast
from gristmill.pipelines.label.result import LabelPlan
from gristmill.pipelines.report.console.labelling import short_model, show_label_plan, show_waiting


def shown(spent: Amount = NOTHING, asked: int = 100, tonight: Amount = NOTHING, **budget: Any) -> str:
    forecast = Forecast("api", "some-model", 20, asked, 0, 50_000, 200, 1.0, exact=False)
    out = io.StringIO()
    plan = LabelPlan("edu", 120, 500, 120, [forecast], Budget(**budget), spent, "2026-11-01", tonight)
    show_label_plan(plan, Console(file=out, width=100))
    return out.getvalue()


def test_the_forecast_is_a_table_and_a_line_of_ceilings() -> None:
    told = shown(Amount(20, 1000, 40, 0.5), documents=200, cost=5.0)
    assert "edu: 120 documents chosen of 500" in told
    assert next(line for line in told.splitlines() if line.startswith("api")).split() == (
        ["api", "some-model", "20", "(17%)", "100", "0", "~50.0", "k", "200", "1.00"]
    )
    assert "budget: documents 20 of 200 spent; cost 0.50 of 5.00 spent" in told
    assert "!" not in told


@pytest.mark.parametrize(
    ("spent", "budget", "passed"),
    [
        (NOTHING, {"documents": 99}, "documents"),
        (Amount(documents=101), {"documents": 200}, "documents"),
        (NOTHING, {"input_tokens": "40k", "output_tokens": 199}, "input tokens and output tokens"),
        (Amount(cost=4.5), {"cost": 5.0}, "cost"),
    ],
)
def test_a_ceiling_that_will_not_do_is_told_beforehand(spent: Amount, budget: dict[str, Any], passed: str) -> None:
    assert f"! more is to be asked than the ceiling for {passed} leaves" in shown(spent, **budget)


def test_a_night_has_lines_of_its_own() -> None:
    told = shown(Amount(cost=4.0), tonight=Amount(cost=0.5), cost=5.0, night={"cost": 1.0, "documents": 500})
    assert "budget: cost 4.00 of 5.00 spent" in told
    assert "night of 2026-11-01: documents 0 of 500 spent; cost 0.50 of 1.00 spent" in told
    assert "! more is to be asked than the night's ceiling for cost leaves: the rest is asked" in told
    waiting = io.StringIO()
    show_waiting({"edu": Amount(3, 1500, 3, 0.25)}, Console(file=waiting, width=200))
    assert waiting.getvalue() == (
        "! edu: 3 texts wait for a label, about 1.5 k tokens in, 3 out, cost 0.25; a later run asks them first\n"
    )


def test_where_nothing_is_to_be_asked_no_ceiling_matters() -> None:
    assert "!" not in shown(Amount(documents=300), asked=0, documents=200)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0 k"),
        (41_234, "41.2 k"),
        (999_499, "999.5 k"),
        (999_999, "1.0 M"),
        (2_500_000_000, "2.5 G"),
    ],
)
def test_counts_are_told_in_units(tokens: int, told: str) -> None:
    assert in_units(tokens) == told


@pytest.mark.parametrize(
    ("model", "told"),
    [("Qwen/Qwen3-32B", "Qwen/Qwen3-32B"), ("/models/tiny", "tiny"), ("./tiny", "tiny"), ("gpt-x", "gpt-x"), ("", "")],
)
def test_a_model_in_a_folder_is_called_by_the_folders_name(model: str, told: str) -> None:
    assert short_model(model) == told
