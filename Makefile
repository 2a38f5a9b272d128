# Everything from a machine that has Python 3.11 and make; `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup lock check test test-slow demo clean

# How many processes share the tests of `make test`; each has a Neo4j and a Spark of its own, some 3 GiB.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# Each stamp says that its step was done with the files it depends on.
BOOTSTRAPPED := $(VENV)/.bootstrapped
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile

setup: $(INSTALLED) ## environment in .venv, Java, the jars of Neo4j and GraphFrames
	@$(BIN)/crossgraph setup

check: $(INSTALLED) ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup check ## all checks, then all tests but the slow ones, by two processes (WORKERS=2)
	$(BIN)/python -m pytest -m "not slow" --numprocesses=$(WORKERS) --dist=loadfile

test-slow: setup ## the tests that run whole commands or kill servers
	$(BIN)/python -m pytest -m slow

demo: setup ## the whole pipeline on the demo
	$(BIN)/crossgraph demo

lock: $(BOOTSTRAPPED) ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --all-extras --generate-hashes --no-header --no-emit-index-url \
	  --python-version 3.11 --output-file requirements.lock pyproject.toml

clean: ## remove the environment and the tools' caches; runs and the shared jars stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist

# A venv brings pip; pip brings the locked uv, hashes checked; uv does the rest.
$(BOOTSTRAPPED):
	@for python in python3.11 python3 python; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; then \
	    echo "creating $(VENV) with $$python"; \
	    $$python -m venv --clear $(VENV) && exit 0; \
	    echo "$$python cannot create an environment: install its venv module (python3.11-venv)" >&2; exit 1; \
	  fi; \
	done; \
	echo "Python 3.11 is needed and neither python3.11 nor python3 nor python on PATH is one: install it" >&2; exit 1
	@sed -n '/^uv==/,/^[a-z0-9]/{/^uv==/p;/^ .*--hash/p;}' requirements.lock > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt
	@touch $@

$(LOCKED): requirements.lock $(BOOTSTRAPPED)
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@touch $@

$(INSTALLED): pyproject.toml $(LOCKED)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
