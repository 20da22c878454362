# Every target sets up what it needs; the second run does no set-up. Needs git, make and some Python 3 with venv.
#   make demo [PRESET=smoke]   the whole loop, ending in a report
#   make test                  fast tests; make test-slow: the others; make test-arm: of these, what drives a simulated
#                              controller of a Franka arm, which it installs into build/ (3 minutes)
#   make test-tools            Debian's Chromium and PostgreSQL, without which some tests are skipped
#   make check                 lint, format, types, import contract, docstrings
#   make bench                 quality and cost: the scripts in benchmarks/ (about an hour)
#   make bench-feeds           of these, how fast training batches come, and how fast from other formats (5 minutes)
#   make bench-store           the store at a million episodes, and what jobs cost (an hour)
#   make bench-learners        training speed beside other libraries (half an hour; some GB of downloads once)
#   make bench-pictures        speed of models from pictures beside PyTorch and JAX (ten minutes; some GB of downloads once)
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-arm test-tools check format bench bench-feeds bench-store bench-learners bench-pictures clean

PRESET ?= default
READY := .venv/.ready
BIN := .venv/bin

help:
	@sed -n '2,11s/^# \{0,1\}//p' Makefile

setup: $(READY)

$(READY): pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh
	@touch $@

demo: $(READY)
	@$(BIN)/armchair demo --preset $(PRESET)

test: $(READY)
	@$(BIN)/pytest -m "not slow" -n 2 --durations=10

test-slow: $(READY)
	@$(BIN)/pytest -m slow --durations=10

test-arm: $(READY)
	@$(BIN)/pytest -m controller

test-tools:
	@scripts/test_tools.sh

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/interrogate --quiet

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done

bench-feeds: $(READY)
	@$(BIN)/python benchmarks/feeds.py

bench-store: $(READY)
	@$(BIN)/python benchmarks/annotate.py
	@$(BIN)/python benchmarks/jobs.py
	@$(BIN)/python benchmarks/store_queries.py --episodes 1000000
	@$(BIN)/python benchmarks/store_adds.py

bench-learners: $(READY)
	@$(BIN)/python -m benchmarks.learners

bench-pictures: $(READY)
	@$(BIN)/python -m benchmarks.pictures

clean:
	rm -rf .venv .venv-uv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
