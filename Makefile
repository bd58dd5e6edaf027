# Two commands set everything up on a fresh machine: `make demo` and `make test`. They need Python 3.11+, make and git.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint format schema bench clean

demo: .venv/run
	$(BIN)/gristmill run configs/demo/harvest.yaml
	for part in explained terse numeric; do $(BIN)/gristmill run configs/demo/$$part.yaml --quiet || exit 1; done
	$(BIN)/gristmill train quality --positive demo/store/datasets/explained --negative demo/store/datasets/terse --out demo/quality.bin
	$(BIN)/gristmill run configs/demo/curate.yaml --examples 5

test: .venv/test
	$(BIN)/pytest

test-slow: .venv/test
	$(BIN)/pytest -m "slow or peers"

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: .venv/run
	$(BIN)/python -m pipelines.schema

bench: .venv/test
	$(BIN)/python -m benchmarks.all

clean:
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/run: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/test: .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch $@
