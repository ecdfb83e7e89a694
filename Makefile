# Grid SMC. Every target does its own set-up: `make demo` and `make test` work on a fresh clone.
# Needs python3.11 (with venv) and the package registries as this machine is set up for them; see README.md.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(shell command -v python3.11) python3)
BIN := .venv/bin
RUN := .venv/.run-installed
DEV := .venv/.dev-installed
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes
ROOMS := model wire analytics trust web host norm smc esmc commands
SOURCES := app.py $(ROOMS) bench migrations scripts tests

T ?= tests
AREA ?=
# Three processes for two cores, since tests of real servers wait a lot; a test file to each at a time.
JOBS ?= 3

.PHONY: help demo test check bench score shots torture lock settings-docs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python is " + sys.version.split()[0] + ", expected 3.11 or newer: install python3.11 or set PYTHON")'
	@$(PYTHON) -m venv .venv || { echo "python3-venv is missing: install it (apt-get install python3-venv)" >&2; exit 2; }

$(RUN): requirements/run.lock | .venv/bin/python
	@$(PIP) -r requirements/run.lock
	@touch $@

$(DEV): requirements/dev.lock | .venv/bin/python
	@$(PIP) -r requirements/dev.lock
	@touch $(RUN) $@

demo: $(RUN) ## two operators' centres and the pan-European centre on this machine (DEMO_SECONDS, DEMO_AUTO, DEMO_CAPTURE)
	@exec $(BIN)/python app.py demo

test: $(DEV) ## every test on real servers; T=path for a part
	@scripts/test-servers
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "$(or $(MARKS),not slow)" $(T)

check: $(DEV) ## format, lint, types, import borders, rules of the house
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pytest tests/test_rules.py tests/test_desk_rules.py tests/test_deployment.py

bench: $(DEV) ## benchmarks against a peer or a limit; AREA=storage for a part
	@scripts/test-servers
	@$(BIN)/python -m bench $(AREA)

score: $(RUN) ## detection score card
	@$(BIN)/python app.py score

shots: $(DEV) ## screenshots of every page into docs/screenshots
	@scripts/test-servers
	@$(BIN)/python -m tests.browser.shots

torture: $(DEV) ## the long fault suite; writes docs/reliability.md
	@scripts/test-servers
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(if $(filter tests,$(T)),--fault-table docs/reliability.md) $(T)

lock: pyproject.toml ## pin all dependencies anew, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "uv is missing: install it to make new locks" >&2; exit 2; }
	@uv pip compile pyproject.toml --extra dev $(COMPILE) -o requirements/dev.lock
	@uv pip compile pyproject.toml $(COMPILE) --constraint requirements/dev.lock -o requirements/run.lock
COMPILE := --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal

settings-docs: $(RUN) ## write docs/settings.md from the settings
	@$(BIN)/python scripts/settings_docs.py
