# `make demo` and `make test` work on a fresh machine with Python 3.11 (or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
# Keep compiled modules, whatever the machine's own setting: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all dev bench bench-large lint lock clean

help: ## Show what can be done here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@echo "making the virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# What the demo needs; the development environment has all of it and more.
$(VENV)/.demo: requirements/demo.lock pyproject.toml | $(BIN)/uv
	@test -e $(VENV)/.dev || { echo "installing from requirements/demo.lock"; \
	  $(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/demo.lock && \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .; }
	@touch $@

$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/uv
	@echo "installing from requirements/dev.lock"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(VENV)/.dev $(VENV)/.demo

demo: $(VENV)/.demo ## Run the whole line on a real grocer's year of data and print what happened
	@$(BIN)/personalization demo

dev: $(VENV)/.demo ## Open the Dagster UI on http://127.0.0.1:3000
	@$(BIN)/personalization dev

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: $(VENV)/.dev lint ## Lint, type check and run the tests (under 15 minutes on two cores)
	@scripts/install-system-packages.sh
	@$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/.dev lint ## Everything `test` does, and the slow proofs
	@scripts/install-system-packages.sh
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.dev ## Measure us beside hand-written SQL, as ratios
	@$(BIN)/python -m benchmarks

bench-large: $(VENV)/.dev ## Segments of 2 million customers and 80 million events; 20 minutes, 20 GB in FOLDER=…
	@$(BIN)/python -m benchmarks segments --customers 2000000 $(if $(FOLDER),--folder $(FOLDER))

lock: $(BIN)/uv ## Resolve requirements/*.lock anew from pyproject.toml
	@$(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra demo --extra postgres --extra s3 --extra spark --extra dev pyproject.toml --output-file requirements/dev.lock
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	  --extra demo --constraint requirements/dev.lock pyproject.toml --output-file requirements/demo.lock

clean: ## Remove the virtual environment and the demo's state
	@rm -rf $(VENV) var
