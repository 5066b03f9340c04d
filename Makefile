# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CXX_FOUND := $(shell command -v c++ || command -v g++ || command -v clang++)

.DELETE_ON_ERROR:
.PHONY: demo test lint type bench clean

# The demo needs no compiler: without one, the rows of hnswlib are skipped and say so.
demo: $(VENV)/demo.stamp
	$(VENV)/bin/retrieval-eval run experiments/quickstart.yaml --skip-unavailable

test: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -m "not slow"

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

type: $(VENV)/dev.stamp
	$(VENV)/bin/mypy

bench: $(VENV)/demo.stamp
	$(VENV)/bin/python benchmarks/command_line.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[wordllama]"
ifneq ($(CXX_FOUND),)
	-$(PIP) -e ".[hnsw]"
endif
	touch $@

$(VENV)/test.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[all,test]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[dev]"
	touch $@
