# Everything on a fresh machine with Python 3.11+ and make: each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable

# One thread a process: the processes share the cores. Each takes tests that lie together: a file's fixtures are made once
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

.PHONY: demo test test-all test-gpu bench lint clean

demo: $(INSTALLED)  ## train on real handwritten digits and write a report
	$(BIN)/sightline demo

test: $(TESTABLE) lint  ## lint, type-check, run the tests
	$(PYTEST)

test-all: $(TESTABLE) lint  ## the slow proofs too
	$(PYTEST) -m "slow or not slow"

test-gpu: $(TESTABLE)  ## what a GPU changes; the other tests do not see it
	SIGHTLINE_TEST_GPU=1 $(PYTEST) tests/test_gpu.py

bench: $(INSTALLED)  ## the benchmarks, which take hours; PHOTOS=folder with train/<class>/*.jpg adds that of the input
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/train_throughput.py
ifdef PHOTOS
	$(BIN)/python benchmarks/input_pipeline.py $(PHOTOS)
endif

lint: $(TESTABLE)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Sightline needs Python 3.11 or later; $$($(PYTHON) --version) is here. Try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(TESTABLE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
