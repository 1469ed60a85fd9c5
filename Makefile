# One command each; `make` alone lists them. Names of folders: VENV, DEMO. A Python of one's own: PYTHON.

VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := aggrade tasks flows deployments
TESTS ?= tests
WORKERS ?= 2
STAMP := $(VENV)/.installed
SEED ?= $(shell date +%s)
VERSIONS := 3.13 3.12 3.11
PYENV_ROOT ?= $(HOME)/.pyenv
CANDIDATES := $(foreach v,$(VERSIONS),python$(v) $(wildcard $(PYENV_ROOT)/versions/$(v)*/bin/python$(v))) python3
REQUIREMENTS := --constraint constraints.txt --no-build-isolation --editable '.[test]'
PROBE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
VERSION := import sys; print(sys.version)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install check test prove mutants demo clean constraints another-python

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## make the environment (PYTHON=… chooses the interpreter)

ifdef PYTHON
ifneq ($(shell $(PYTHON) -c '$(VERSION)' 2>&1),$(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null))
$(STAMP): another-python
endif
endif

$(STAMP): pyproject.toml constraints.txt
	@for python in $(or $(PYTHON),$(CANDIDATES)); do \
	    if "$$python" -c '$(PROBE)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "No Python 3.11 or newer that can make environments among: $(or $(PYTHON),$(CANDIDATES))" >&2; \
	    echo "Install one (with its venv module), or name one: make install PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$found" --version) ($$found)"; \
	"$$found" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv hatchling editables
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(REQUIREMENTS) || $(BIN)/python -m pip install --quiet $(REQUIREMENTS)
	@touch $@

check: install ## run the linters, the type checker, docstring coverage and the speller
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/interrogate --quiet $(wildcard $(SOURCES))
	$(BIN)/codespell

test: check ## check, then run every test (TESTS=tests/test_packaging.py for some of them)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m 'not long' $(TESTS)

prove: install ## run the long proofs: ten kills of the demo and the like (SEED= repeats the examples of a run)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m long --timeout 3600 --hypothesis-profile=prove --hypothesis-seed=$(SEED) $(TESTS)

mutants: install ## break the guarded commit on purpose, and see that the tests notice (NAMES=no-fence for some)
	$(BIN)/python tests/mutants.py $(NAMES)

demo: install ## watch everything happen in ./demo (DEMO_STORE=, DEMO_RECORDINGS=, DEMO_CATALOGUES= take your own)
	@exec $(BIN)/aggrade demo --end-with-parent

constraints: ## renew constraints.txt (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate --upgrade --all-extras \
	    --output-file constraints.txt pyproject.toml

clean: ## remove what the other commands made, the demo's folder included
	rm -rf $(VENV) demo build dist .prefect .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find $(wildcard $(SOURCES) tests benchmarks) -name __pycache__ -type d -prune -exec rm -rf {} +
