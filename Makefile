# make demo   a virtual environment, jinv in it, and the main job: images out of a real ImageNet classifier
# make test   a virtual environment, every check, all tests but the full-size ones, the wheel's too
# make bench  seconds per step beside PyTorch, into benchmarks/results/; about an hour, on a quiet machine
# make docs   pages of every public name, into build/docs
# PYTHON chooses the interpreter (3.11 or newer), VENV where the environment goes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The CPU build of PyTorch, for the tests that compare with it; installed first, so that nothing resolves to another.
TORCH ?= torch==2.13.0
TORCH_ARGUMENTS ?=
# The robustness package, whose own files are converted in tests. Alone: it would bring torchvision, TensorBoard and more,
# which the networks of it that are tested never call.
ROBUSTNESS := robustness==1.2.1.post2

# Compiling keeps little more than one core busy, and much waits for processes of its own: three processes keep two cores
# busy to 99 %, in 3.5 GiB each. A test file stays within one of them, for what its tests share; the full-size networks,
# which are in one file and share nothing, do not. The largest has the machine for itself: it takes 12 GiB.
PYTEST_ARGUMENTS ?= -n 3 --dist loadfile

.PHONY: demo test test-full lint wheel-test bench docs clean

demo: $(VENV)/.demo
	$(BIN)/jinv synthesize configs/demo.toml --out runs/demo --replace

test: $(VENV)/.test lint wheel-test
	$(BIN)/python -m pytest -m "not full" $(PYTEST_ARGUMENTS)

test-full: $(VENV)/.test lint wheel-test
	$(BIN)/python -m pytest -m "not full" $(PYTEST_ARGUMENTS)
	$(BIN)/python -m pytest -m "full and not large" -n 2
	$(BIN)/python -m pytest -m large

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.sweep

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/structure.py

# The public names, then room by room: pdoc goes from `jinv` to those in `jinv.__all__` alone.
ROOMS := $(sort $(subst /,.,$(patsubst %/__init__.py,%,$(wildcard jinv/*/__init__.py))))
docs: $(VENV)/.test
	$(BIN)/python -m pdoc --docformat google --output-directory build/docs jinv $(ROOMS) jinv.errors jinv.files jinv.signals jinv_convert

# The wheel as a stranger gets it: built, installed in an empty environment elsewhere, and used there. A minute.
wheel-test: $(VENV)/.test
	$(BIN)/python tools/wheel_test.py

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jinv needs Python 3.11 or newer; try make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[embedded]'
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet $(TORCH_ARGUMENTS) '$(TORCH)'
	$(BIN)/python -m pip install --quiet -e '.[embedded,dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(ROBUSTNESS)
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) runs build dist *.egg-info
