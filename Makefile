# Two commands set everything up on a fresh machine: `make demo` and `make test`. They need Python 3.11+, make and git.
PYTHON ?= python3
BIN := .venv/bin

# `make test PYTEST_OPTIONS="--cov=operators --cov=pipelines"` prints the coverage of operators and pipelines as well.
PYTEST_OPTIONS ?=
# `make test-lm TORCH_PIP="--index-url https://download.pytorch.org/whl/cpu"` takes the small build for machines without a GPU.
TORCH_PIP ?=

.PHONY: demo test test-browser test-lm test-vllm test-slow lint docs format schema bench compose clean

demo: .venv/run
	$(BIN)/gristmill run configs/demo/harvest.yaml
	for part in explained reference numeric; do $(BIN)/gristmill run configs/demo/$$part.yaml --quiet || exit 1; done
	$(BIN)/gristmill train quality --positive demo/store/datasets/explained --negative demo/store/datasets/reference --out demo/quality.bin
	$(BIN)/gristmill run configs/demo/curate.yaml --examples 5
	$(BIN)/python configs/demo/texts.py

test: .venv/test
	$(BIN)/pytest -n 3 --dist loadgroup $(PYTEST_OPTIONS)

test-browser: .venv/browser
	$(BIN)/pytest -m browser

test-lm: .venv/lm
	$(BIN)/pytest -m lm

test-vllm: .venv-vllm/ready
	.venv-vllm/bin/pytest tests/vllm -m vllm

test-slow: .venv/test
	$(BIN)/pytest -m "slow or peers"

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.site.build

# build/site/index.html; a broken link ends it
docs: .venv/test
	$(BIN)/python -m docs.site.build

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: .venv/run
	$(BIN)/python -m gristmill.pipelines.planning.schema

bench: .venv/test
	$(BIN)/python -m benchmarks.all

# A Ray cluster and a server that speaks S3, in containers: deploy/compose.yaml says what to do with it.
compose:
	deploy/secrets.sh
	docker compose -f deploy/compose.yaml up --build --detach --wait head worker
	@echo 'docker compose -f deploy/compose.yaml exec head gristmill submit demo/harvest.yaml --set store=s3://gristmill/store'

clean:
	rm -rf configs/data configs/target configs/models configs/store
	rm -rf .venv .venv-vllm demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache

.venv/run: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[tokenizers]'
	touch $@

.venv/test: .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint]'
	touch $@

.venv/browser: .venv/test
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	touch $@

.venv/lm: .venv/test
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH_PIP) torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lm]'
	touch $@

# vLLM for CPUs goes with one version of torch: an environment of its own (4 GB).
.venv-vllm/ready: pyproject.toml tests/vllm/requirements.txt tests/vllm/constraints.txt
	test -d .venv-vllm || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check $(TORCH_PIP) torch==2.13.0
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check -c tests/vllm/constraints.txt -r tests/vllm/requirements.txt -e .
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@
