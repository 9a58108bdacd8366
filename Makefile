# `make up` on a fresh machine ends in a working chat; `make test` on a fresh machine passes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# bytecode is made on first import instead of for every file that is never imported: 150 MB less, and faster
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check

# 50 MB that nothing here ever reads: two libraries' own tests, a notebook's widget, the headers of a C library
UNREAD := $(addprefix $(VENV)/lib/python3.*/site-packages/,pandas/tests matplotlib/tests pydeck/nbextension/static pyarrow/include)

.PHONY: up dev test soak lint bench clean help

help:  ## what there is to do
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Sextant needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python has no venv module here. On Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.app: $(VENV)/.python requirements.lock pyproject.toml
	@echo "Installing Sextant into $(VENV) (about a minute)"
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-build-isolation --no-deps -e .
	@rm -rf $(UNREAD)
	@touch $@

$(VENV)/.dev: $(VENV)/.app tests/requirements.lock
	@$(PIP) --require-hashes -r tests/requirements.lock
	@touch $@

up: $(VENV)/.app  ## install, start everything, print the address of the chat
	@$(BIN)/sextant up

dev: $(VENV)/.dev  ## install what tests and lint need

test: $(VENV)/.dev  ## install and pass the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/faults/test_growth.py

soak: $(VENV)/.dev  ## the faults of the tests at length: ten times as many kills, outages, sessions
	@SEXTANT_SOAK=1 $(BIN)/python -m pytest tests/faults -s

lint: $(VENV)/.dev  ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: $(VENV)/.dev  ## print the table of figures
	@$(BIN)/python tests/bench/run.py

clean:  ## remove the environment; chats and documents in .sextant stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
