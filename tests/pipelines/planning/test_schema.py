"""configs/schema.json: up to date, takes every recipe of the repository, refuses usual mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gristmill.pipelines.planning.schema import recipe_schema, task_schema

CONFIGS = Path(__file__).parents[3] / "configs"
RECIPE: dict[str, Any] = {
    "version": 1,
    "name": "test",
    "store": "./store",
    "sources": [{"name": "docs", "path": "data/*", "metadata": ["lang"]}],
    "write": {"shard_bytes": "256MB"},
}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads((CONFIGS / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_file_is_up_to_date() -> None:
    assert json.loads((CONFIGS / "schema.json").read_text()) == recipe_schema(), "run `make schema`"
    assert json.loads((CONFIGS / "tasks" / "schema.json").read_text()) == task_schema(), "run `make schema`"


def test_tasks_of_the_repository_fit_their_schema() -> None:
    schema = json.loads((CONFIGS / "tasks" / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for path in CONFIGS.glob("tasks/*.yaml"):
        task = yaml.safe_load(path.read_text())
        validator.validate(task)
        assert not validator.is_valid({**task, "anotators": []})
        assert not validator.is_valid({**task, "answer": {"choose": ["a", "b"]}})


RECIPES = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "tasks")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_it_takes_the_recipes_of_the_repository(validator: Draft202012Validator, path: Path) -> None:
    validator.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"decide": None},
        {"decide": ["exact_dedup", {"exact_dedup": None}, {"exact_dedup": "longest"}, {"exact_dedup": {"by": "url"}}]},
        {"measure": [{"importance": "target/*"}, {"importance": {"target": {"a": {"path": "x", "proportion": 0.5}}}}]},
        {"sources": [{"name": "a", "path": ["x", "y"], "metadata": {"year": "int", "b": {"field": "m.b"}}}]},
        {"write": {}, "limits": {"rejects": 0.1}},
    ],
)
def test_it_takes_what_recipes_take(validator: Draft202012Validator, change: dict[str, Any]) -> None:
    validator.validate({**RECIPE, **change})


MISTAKES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "unknown key": lambda recipe: {**recipe, "stor": "x"},
    "missing key": lambda recipe: {key: recipe[key] for key in recipe if key != "write"},
    "version": lambda recipe: {**recipe, "version": 2},
    "name with a slash": lambda recipe: {**recipe, "name": "a/b"},
    "no sources": lambda recipe: {**recipe, "sources": []},
    "unknown key of a source": lambda recipe: {**recipe, "sources": [{"name": "a", "path": "x", "fromat": "auto"}]},
    "unknown format": lambda recipe: {**recipe, "sources": [{"name": "a", "path": "x", "format": "jsonlines"}]},
    "unknown operator": lambda recipe: {**recipe, "measure": ["gophr"]},
    "operator elsewhere": lambda recipe: {**recipe, "measure": ["exact_dedup"]},
    "required option left out": lambda recipe: {**recipe, "decide": ["drop"]},
    "unknown option": lambda recipe: {**recipe, "decide": [{"select": {"by": "random", "documnets": 5}}]},
    "option of another type": lambda recipe: {**recipe, "decide": [{"select": {"by": "random", "documents": "many"}}]},
    "two operators in one entry": lambda recipe: {**recipe, "measure": [{"gopher": {}, "tokens": {}}]},
    "negative size": lambda recipe: {**recipe, "write": {"shard_bytes": -5}},
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_it_refuses_mistakes(
    validator: Draft202012Validator, mistake: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    assert validator.is_valid(RECIPE)
    assert not validator.is_valid(mistake(RECIPE))


def test_everything_is_described() -> None:
    for schema in (recipe_schema(), task_schema()):
        for name, value in schema["properties"].items():
            assert value.get("description"), name
