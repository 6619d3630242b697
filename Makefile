# What a person needs after `git clone`. Written for GNU make 3.81 (macOS) and later.
# `make demo` is all it takes to see the system work; nothing is installed outside .venv but, where no broker
# can be had otherwise, RabbitMQ itself (see broker/node/provision.py).

PYTHON ?= python3
ARGS ?=
# What `make test` needs: private (a broker of its own), or server (one that is no container).
NEED ?= private
# Tests side by side, by file; 0: one after the other. They wait for brokers about as long as they compute: three for
# two processors; many more make each other late.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(6, 3 * (os.cpu_count() or 2) // 2))')
# The processes that tests start do not compile the same source again, whatever PYTHONDONTWRITEBYTECODE says.
COMPILED = $(RUN) -m compileall -q broker dispatcher protocol worker tests

# A test that failed beside others, on a machine that is busy with them, has to pass alone: the run says which did.
AGAIN = { [ $$? = 1 ] && echo 'what failed beside other tests is run again, one after the other' >&2 && \
  $(RUN) -m pytest -n 0 --last-failed --last-failed-no-failures none -rfEp --long $(ARGS); }

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
NO_INDEX := echo 'the Python packages of pyproject.toml are missing and could not be installed (see above):' \
  'pip needs a package index, or PIP_FIND_LINKS=folder with their wheels; then run make again' >&2

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick test-long lint bench chaos lesson exercise clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## the whole system on a private broker, cleaned up afterwards
	@$(RUN) -m broker.node.provision
	@$(RUN) -m dispatcher demo

test: $(VENV)/.dev ## the tests that everybody runs, on real brokers; ARGS='-k name' picks some
	@$(COMPILED)
	@$(RUN) -m broker.node.provision --need $(NEED)
	@$(RUN) -m pytest -n $(JOBS) $(ARGS) || $(AGAIN)

test-quick: $(VENV)/.dev ## those that need no broker, in half a minute
	@$(RUN) -m pytest -n $(JOBS) --quick tests/unit tests/contract $(ARGS)

test-long: $(VENV)/.dev ## all tests, on every version of RabbitMQ: clusters, machines and load as well
	@$(COMPILED)
	@$(RUN) -m broker.node.provision --need $(NEED)
	@$(RUN) -m pytest -n $(JOBS) --long $(ARGS) || $(AGAIN)

lint: $(VENV)/.dev ## style, format and types
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

bench: $(VENV)/.dev ## measure, on a private broker
	@$(RUN) -m broker.node.provision --need $(NEED)
	@$(RUN) -m tests.benchmarks $(ARGS)

chaos: $(VENV)/.dev ## load and faults for minutes, then a verdict; ARGS='--minutes 60 --seed 7'
	@$(RUN) -m broker.node.provision --need $(NEED)
	@$(RUN) -m tests.chaos $(ARGS)

lesson: $(VENV)/.dev ## the lessons; N=1 runs one, ARGS=--predict asks first, BROKER=4.3 takes that version
	@$(RUN) -m tests.lessons $(N) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

exercise: $(VENV)/.dev ## ten functions to write; N=1 checks one, ARGS=--hint helps, BROKER=4.3 takes that version
	@$(RUN) -m tests.exercises $(N) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

clean: ## remove what make made here: .venv, caches, build output
	@rm -rf $(VENV) dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are older than pyproject.toml when dependencies may have changed.
$(VENV)/.runtime: pyproject.toml | $(RUN)
	@echo 'installing into $(VENV)' >&2
	@$(PIP) install --editable . || { $(NO_INDEX); exit 1; }
	@touch $@

$(VENV)/.dev: pyproject.toml | $(RUN)
	@echo 'installing into $(VENV), with the tools for tests' >&2
	@$(PIP) install --editable '.[dev]' || { $(NO_INDEX); exit 1; }
	@touch $(VENV)/.runtime $@

# Debian and Ubuntu keep ensurepip in a package of its own, and without it `venv` fails half-way.
$(RUN):
	@command -v $(PYTHON) >/dev/null || \
	  { echo '$(PYTHON) is not here: install Python 3.11 or later, or say make PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed, and $(PYTHON) is" \
	    "$$($(PYTHON) -V 2>&1): say make PYTHON=python3.13 or the like" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo '$(PYTHON) cannot make virtual environments: on Debian and Ubuntu,' \
	    'apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
