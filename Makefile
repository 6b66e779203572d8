# One command to run Millrace, one to test it. `make help` lists them all.
# A fresh machine needs git, make and Python 3.11 or newer (on Debian also python3-venv).

SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=
PACKAGES := contract producer workers model_store millrace benchmarks
# What decides whether .venv is up to date.
RECIPE := setup.cfg pyproject.toml deploy/install

FAULTS = PYTHON=$(BIN)/python deploy/faults $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help run up test check bench bench-full faults lock clean

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/.ready  ## Set everything up, start it, answer a sample prompt, serve until Ctrl-C
	@exec $(BIN)/millrace up --demo $(ARGS)

up: run  ## The same as run

test: check  ## All checks and all tests
	@$(BIN)/python -m pytest -n 2 tests/unit tests/integration tests/e2e $(ARGS)
	@$(FAULTS)

check: .venv/.ready-dev  ## Lint, format, types, spelling, import rules, lengths; no tests
	@failed=0; \
	deploy/step "ruff check" $(BIN)/ruff check . || failed=1; \
	deploy/step "ruff format" $(BIN)/ruff format --check . || failed=1; \
	deploy/step "mypy --strict" $(BIN)/mypy || failed=1; \
	deploy/step "codespell" $(BIN)/codespell || failed=1; \
	deploy/step "import rules" $(BIN)/lint-imports --no-cache || failed=1; \
	deploy/step "no module over 300 lines" awk 'END {exit bad} FNR == 301 {print FILENAME; bad = 1}' \
		$$(find $(PACKAGES) tests -name '*.py') || failed=1; \
	exit $$failed

faults: .venv/.ready-dev  ## The fault tests at their full length, in half an hour
	@$(FAULTS) --full

bench: .venv/.ready-dev  ## How fast it is beside its peers: the main figures, in 5 minutes
	@exec $(BIN)/python -m benchmarks quick $(ARGS)

bench-full: .venv/.ready-dev  ## The same with every workload and peer (builds llama.cpp), in an hour
	@exec $(BIN)/python -m benchmarks full $(ARGS)

lock: COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links setup.cfg deploy/build.in
lock:  ## Pin the newest allowed versions in the lock files (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	$(COMPILE) --upgrade --extra local -o requirements.lock
	$(COMPILE) --upgrade -c requirements.lock --extra local --extra dev -o requirements-dev.lock
	$(COMPILE) --upgrade -c requirements.lock --extra stack --extra gpu -o requirements-gpu.lock

clean:  ## Remove caches and build products; .venv and .millrace (models, queue) stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache \
		.schemathesis .coverage*
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

.venv/.ready: requirements.lock $(RECIPE)
	@deploy/install requirements.lock
	@touch $@

# The development set holds the whole of the other, so it makes both stamps.
.venv/.ready-dev: requirements-dev.lock requirements.lock $(RECIPE)
	@deploy/install requirements-dev.lock
	@touch $@ .venv/.ready
