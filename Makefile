# Two commands: `make demo` and `make test`. Both make .venv on first use and may be repeated.
PYTHON ?= python3
BIN := .venv/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow test-lowest lint api clean

demo: .venv/installed
	$(BIN)/kshot demo --out demo

# Files side by side; tests of one file share what it sets up.
PYTEST = $(BIN)/pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

test: .venv/installed
	$(PYTEST) -m "not slow"

# Whole stories: commands of the pages, processes that are killed, a browser, graphs of every family.
test-slow: .venv/installed
	$(PYTEST) -m slow

# Every dependency but PyTorch at its lowest allowed version: the tests that touch one, and take little.
LOWEST = test_import test_cli video/test_containers video/test_video video/test_workers test_system test_files test_locks \
	test_gate activations/test_store backbones/test_backbone backbones/test_clip backbones/test_hub fewshot/test_fit test_export heads/test_linear_probe heads/test_text \
	tuning/test_lora tuning/test_bitfit report/test_plots report/test_odd_names recognizer/test_card test_templates studio/test_project studio/test_server recognizer/test_artefact

test-lowest: .venv-lowest/installed
	.venv-lowest/bin/pytest -n auto --maxprocesses=4 --dist=loadfile -k "not translated" $(LOWEST:%=tests/%.py)

# Scripts are checked for what would stop them, not for the types of what libraries answer.
LOOSE = --disable-error-code no-any-return --disable-error-code no-untyped-call --disable-error-code import-not-found
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks scripts $(LOOSE)

# The API reference from the docstrings, in build/api; a warning fails.
api: .venv/docs
	$(BIN)/mkdocs build --quiet --strict

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("kshot needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "torch>=2.10,<2.14"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

.venv-lowest/installed: pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet "torch>=2.10,<2.14" $$($(PYTHON) scripts/lowest.py)
	.venv-lowest/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf .venv .venv-lowest demo build
