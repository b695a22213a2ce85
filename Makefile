# Two commands do everything on a fresh machine:  make demo   and   make test
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
GRAFT_DATA ?=
GRAFT_MODELS ?=
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-timm lint format type docs bench bench-tables constraints clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

install: $(BIN)/.installed  ## make a virtual environment with everything that demo and test need

demo: install  ## train on real bundled input: support messages (English, 中文) and handwritten digits
	@$(BIN)/python examples/demo.py

test: install  ## run the default tests (offline, under five minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-all: install  ## run every test; GRAFT_DATA and GRAFT_MODELS name the folders of real data and models
	OMP_NUM_THREADS=1 GRAFT_DATA=$(GRAFT_DATA) GRAFT_MODELS=$(GRAFT_MODELS) $(BIN)/python -m pytest -n 2 --dist worksteal -m ''

test-timm:  ## test timm: sources in an environment of its own, with the registry's own torch and torchvision
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install --quiet --disable-pip-version-check timm
	.venv-timm/bin/python -m pip install --quiet --disable-pip-version-check -e . 'pytest>=8'
	OMP_NUM_THREADS=1 .venv-timm/bin/python -m pytest -m timm tests/sources/test_timm.py

lint: install  ## check style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install  ## put the code into the house style
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

type: install  ## check types of core, nn, engine and ranking
	$(BIN)/mypy

docs: install  ## regenerate the reference pages and the tables in README from registries and results
	$(BIN)/python docs/generate.py

bench: install  ## measure against the peers; GRAFT_DATA names the folder of data sets
	$(BIN)/python -m benchmarks --data $(GRAFT_DATA) --models $(GRAFT_MODELS)

constraints:  ## lock the versions of a fresh installation into constraints.txt
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0 && .venv-lock/bin/python -m pip install --quiet -e '.[dev,bench]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock

clean:  ## remove what was built
	rm -rf $(VENV) .venv-timm .pytest_cache .ruff_cache .mypy_cache dist build runs
