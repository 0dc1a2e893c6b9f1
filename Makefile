# make demo   the main job on three invented clients, from nothing to a report
# make test   all fast tests; SLOW=1 adds those that use the real base
# make check  format, lint, types, import rules
# make bench  the benchmarks of this machine, one JSON line each

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= copydesk-demo

.PHONY: install demo test test-slow check format bench clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	touch $@

demo: install
	$(BIN)/copydesk demo $(DEMO)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n auto --maxprocesses 8 --dist loadscope

test-slow: install
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1500

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	@! find tests -name 'test_*.py' -exec basename {} \; | sort | uniq -d | grep .  # two of one name

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python benchmarks/matrix_rate.py
	$(BIN)/python benchmarks/train_vs_trl.py

clean:
	rm -rf $(VENV) $(DEMO)
