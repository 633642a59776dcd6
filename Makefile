# The only definition of green. Every target sets up what it needs first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORLDS ?= 20000
DIR ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv demo test check simulate bench docs picture chaos lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

venv: $(VENV)/ready  ## everything into .venv, Prometheus included

$(VENV)/ready: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	@echo "setting up $(VENV), once; this takes about two minutes"
	@$(PYTHON) -m venv $(VENV) || { echo "could not make a virtual environment; on Debian install python3-venv" >&2; exit 1; }
	@$(BIN)/pip install --quiet --require-hashes --no-deps -r constraints.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m gitops_serving.local.prometheus install
	@touch $@

demo: venv  ## a good and a bad model roll out under real traffic; DIR=D keeps everything under D
	$(BIN)/gitops-serving demo $(if $(DIR),--dir $(DIR))

test: venv  ## the whole suite, then 2,000 simulated worlds
	$(BIN)/pytest tests --ignore tests/simulation -n 2 --dist loadgroup --cov --cov-report=term:skip-covered
	$(BIN)/pytest tests/simulation -n 2

check: venv  ## formatting, lint, types, import contracts, generated pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tests.core.phases | diff -u docs/phases.md - || { echo "docs/phases.md is old; run make docs" >&2; exit 1; }
	$(BIN)/python -m gitops_serving.cli.reference | diff -u docs/reference/cli.md - || { echo "docs/reference/cli.md is old; run make docs" >&2; exit 1; }

simulate: venv  ## more worlds: WORLDS=200000 for a night, SEED=1234 for the one that failed
	SEED=$(or $(SEED),0) WORLDS=$(if $(SEED),1,$(WORLDS)) $(BIN)/pytest tests/simulation -n 2 -k every_world

bench: venv  ## what judging costs in CPU time; red above 2 ms a look
	$(BIN)/python -m tests.bench

docs: venv  ## the generated pages
	$(BIN)/python -m tests.core.phases > docs/phases.md
	$(BIN)/python -m gitops_serving.cli.reference > docs/reference/cli.md

picture: venv  ## draw docs/demo.svg from a real run (needs tmux)
	$(BIN)/python -m tests.e2e.picture docs/demo.svg

chaos: venv  ## 50 times kill -9 of the controller, over three demos
	$(BIN)/python -m tests.e2e.crash

lock: venv  ## resolve the dependencies anew: names, versions and hashes, no addresses
	$(BIN)/python -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --extra local --extra dev -o constraints.txt

clean:  ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
