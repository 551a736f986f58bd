# `make help` lists what there is. Everything runs in .venv, which is made when it is first needed.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p >/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(STAMP) ## Make .venv with everything that development needs

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Avizor needs Python 3.11, 3.12 or 3.13; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Train, export, stream and flag, from end to end
	$(BIN)/python examples/demo.py

.PHONY: test
test: $(STAMP) ## All tests but the slow ones
	$(BIN)/python -m pytest

.PHONY: test-slow
test-slow: $(STAMP) ## The tests that train real models to their promised figures
	$(BIN)/python -m pytest -m slow

.PHONY: lint
lint: $(STAMP) ## Style, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: types
types: $(STAMP) ## Static types
	$(BIN)/mypy

.PHONY: bench
bench: $(STAMP) ## Memory of the batch job over 300 and 3,000 files
	$(BIN)/python benchmarks/batch_memory.py

.PHONY: clean
clean: ## Remove .venv and what demo and tests made
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
