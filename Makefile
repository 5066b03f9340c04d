# Every target sets up what it needs in .venv; nothing has to be installed by hand.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# hnswlib has no wheels: without a compiler its rows of the demo and its tests are skipped, and say so.
HNSWLIB := $(if $(shell command -v c++ || command -v g++ || command -v clang++),-$(PIP) -e ".[hnsw]",@echo "no C++ compiler: hnswlib is left out")

.DELETE_ON_ERROR:
.PHONY: demo test test-slow test-backends experiments lint type bench bench-evaluate bench-compare bench-encode bench-indexes bench-sweep bench-page validity clean

demo: $(VENV)/demo.stamp
	$(VENV)/bin/retrieval-eval run experiments/quickstart.yaml --skip-unavailable

# Files of tests go to two processes: JOBS=1 for one, or more where there are more cores.
JOBS ?= 2
test: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile -m "not slow and not backends and not experiments"

# The long versions of tests, such as 20,000 mutations of files.
test-slow: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -m slow

# What needs libraries or servers of its own: usearch, LanceDB, Milvus, PostgreSQL with pgvector, Ray.
test-backends: $(VENV)/backends.stamp
	$(VENV)/bin/python -m pytest -m backends tests/backends tests/executors

# Every experiment, in a version of seconds: does it run, and print what its README shows?
experiments: $(VENV)/test.stamp
	$(VENV)/bin/python -m pytest -m experiments tests/experiments

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

type: $(VENV)/dev.stamp
	$(VENV)/bin/mypy

# Pages of 500 and of 5,000 rows: how large they are, and how long they take to open (needs Chromium).
bench-page: $(VENV)/test.stamp
	$(VENV)/bin/python benchmarks/page.py

bench: $(VENV)/demo.stamp
	$(VENV)/bin/python benchmarks/command_line.py

# How fast comparing is, and whether its error rates hold (20 minutes; needs the collection of scores).
bench-compare: $(VENV)/demo.stamp
	$(VENV)/bin/python benchmarks/significance.py

validity: $(VENV)/demo.stamp
	$(VENV)/bin/python benchmarks/validity.py

# What the contract costs beside the libraries, and exact search beside faiss alone (20 minutes).
bench-indexes: $(VENV)/demo.stamp
	$(VENV)/bin/python benchmarks/overhead.py
	$(VENV)/bin/python benchmarks/ground_truth.py

# What the path around a model costs, and a million documents in bounded memory (20 minutes).
bench-encode: $(VENV)/test.stamp
	$(VENV)/bin/python benchmarks/encode.py
	$(VENV)/bin/python benchmarks/million.py

# What a sweep costs beside its work, and whether it survives 100 kills (an hour).
bench-sweep: $(VENV)/test.stamp
	$(VENV)/bin/python benchmarks/sweep.py
	$(VENV)/bin/python benchmarks/survival.py

# Against other libraries, in an environment of its own; 15 minutes and 3 GB of disk.
bench-evaluate: $(VENV)-bench/bench.stamp
	$(VENV)-bench/bin/python benchmarks/evaluate.py --large

$(VENV)-bench/bench.stamp: pyproject.toml constraints.txt benchmarks/requirements.txt
	$(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . -r benchmarks/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[wordllama]"
	$(HNSWLIB)
	touch $@

$(VENV)/test.stamp: $(VENV)/demo.stamp
	$(PIP) -e ".[encoders,formats,test]"
	touch $@

$(VENV)/backends.stamp: $(VENV)/test.stamp
	$(PIP) -e ".[usearch,lancedb,pgserver,milvus,ray]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[dev]"
	touch $@
