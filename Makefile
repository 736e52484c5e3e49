# Two commands on a fresh machine with Python (3.10 to 3.14), make and git:
#   make demo   every step on a small generated dataset, ending with pictures and a table
#   make test   every check: format, lint, types, imports, tests
# And for the documentation:
#   make documentation   reference pages from the code, then all pages as a site: site/index.html
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2

.PHONY: demo test check environment documentation clean

environment: $(VENV)/.installed

$(VENV)/.installed: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev,oracles]" --constraint constraints.txt
	touch $@

$(VENV)/.runs: setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable . --constraint constraints.txt
	touch $@

demo: $(VENV)/.runs
	$(BIN)/diffunet_demo --output diffunet_demo

check: environment
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

documentation: environment
	$(BIN)/python -m diffunet.cli.reference documentation/reference
	$(BIN)/sphinx-build -W --keep-going -q -b html documentation site
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
