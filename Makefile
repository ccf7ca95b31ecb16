# Two commands set everything up on a machine with Python 3.11 and make:
#   make demo    install, render footage with known truth, run the whole way, check it
#   make test    install and run the tests
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test lessons check bench clean

demo: $(READY)
	$(BIN)/clipmill demo

test: $(READY)
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

# Every tiny generator learns its grammar; `make test` has one of each family do so.
lessons: $(READY)
	CLIPMILL_LESSONS=all $(BIN)/python -m pytest tests/zoo/test_generators.py -k laws

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# make bench DIR=folder/with/videos
bench: $(READY)
	$(BIN)/python bench/cuts.py $(DIR)
	$(BIN)/python bench/curate.py $(DIR)
	$(BIN)/python bench/recut.py
	$(BIN)/python bench/catalog.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("clipmill needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,mocap]"
	touch $(READY)

clean:
	rm -rf $(VENV) demo-corpus .pytest_cache .mypy_cache .ruff_cache
