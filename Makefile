# `make demo` and `make test` start from nothing but Python 3.11 and the package index.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
# Constraints make an install the same everywhere. A recent pip first: old resolvers backtrack for minutes.
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-arm64 check format bench bench-smoke clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(INSTALLED) ## create .venv with everything

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(INSTALLED) ## the whole path: train, export, run two simulated boards, collect, report
	$(BIN)/tamiyo demo --out demo-out --overwrite

# The tests start hundreds of processes: modules are compiled once for all, also where the environment says not to keep that.
test test-slow bench-smoke: export PYTHONDONTWRITEBYTECODE :=

test: $(INSTALLED) ## all tests, with branch coverage
	$(BIN)/python -m pytest --numprocesses 2 -m "not long" --cov --cov-report=term

test-slow: $(INSTALLED) ## what takes minutes more: every preset through every format, every target, 320 faults, 380 kills and power cuts
	$(BIN)/python -m pytest --numprocesses 2 -m long
	$(BIN)/tamiyo train faults

test-arm64: $(INSTALLED) ## the wheel on an emulated Debian 12 for aarch64, as on a Raspberry Pi; needs root, some minutes
	$(BIN)/python -m tests.arm64

check: $(INSTALLED) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The ablations teach sixteen policies and replace the figures that are kept: by hand only.
bench: $(INSTALLED) ## benchmarks against peers; appends to benchmarks/results/
	for bench in $(filter-out %_ablations.py,$(sort $(wildcard benchmarks/bench_*.py))); do $(BIN)/python $$bench || exit 1; done

bench-smoke: $(INSTALLED) ## teach and judge a growth policy, every part on very little work; a minute
	$(BIN)/python -m pytest -m long tests/unit/tamiyo_train/test_growth_benchmark.py

clean: ## remove what the targets made
	rm -rf $(VENV) demo-out dist build
