# Every target makes the environment it needs (scripts/bootstrap.sh) and can be run again: finished work is skipped.
SHELL := /bin/bash
PYTHON ?=
GOLDEN ?=
RECIPE ?=
ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help quickstart test chaos golden bench-llama bench-gpu lint

help: ## this list
	@echo "make TARGET [VARIABLE=value]"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

quickstart: ## real data, a tiny MIO trained, media generated, runs/quickstart/report.html (ARGS="--config.seed=1")
	@scripts/bootstrap.sh base
	@MIO_INSTALL_SECONDS="$$(cat .venv/.install-seconds 2>/dev/null || echo 0)" .venv/bin/mio quickstart $(ARGS)

test: ## every test but the slow ones (PYTEST_ARGS="-k config", WORKERS=4)
	@scripts/bootstrap.sh dev
	@.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

chaos: ## random SIGKILLs over a tiny run, then compared with an unbroken one (ARGS="--kills 50 --processes 2 --seed 3")
	@scripts/bootstrap.sh dev
	@JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python -m tests.train.chaos $(ARGS)

golden: ## parity with reference fixtures (GOLDEN=folder, RECIPE=mio|unified-io-2|4m|mico)
	@scripts/bootstrap.sh dev
	@.venv/bin/python -m tests.parity.runner $(if $(GOLDEN),--golden "$(GOLDEN)") $(if $(RECIPE),--recipe "$(RECIPE)")

bench-llama: ## our training step and decoding beside PyTorch's, as ratios in benchmarks/results/
	@scripts/bootstrap.sh base
	@scripts/bootstrap.sh peers
	@.venv/bin/python -m benchmarks.llama_vs_transformers --peer-python .venv-peers/bin/python $(ARGS)

bench-gpu: ## the benchmarks that need a GPU
	@if ! nvidia-smi -L > /dev/null 2>&1; then echo "bench-gpu: no NVIDIA GPU on this machine; nothing was run"; exit 0; fi; \
	  scripts/bootstrap.sh base && for script in benchmarks/gpu/*.py; do \
	    [ -e "$$script" ] || { echo "bench-gpu: there are no scripts in benchmarks/gpu yet"; exit 0; }; \
	    echo "== $$script"; .venv/bin/python "$$script" || exit 1; done

lint: ## ruff and mypy
	@scripts/bootstrap.sh dev
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
