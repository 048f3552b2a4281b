# `make` lists the targets. Everything is installed into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SOURCES := src tests examples collector

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-deployments soak sbom reproducible e2e bench bench-detection bench-routes lint format build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "This Python cannot make virtual environments (on Debian: apt install python3-venv)."; exit 1; }
	$(PIP) install 'pip >= 25.1'

$(VENV)/.demo: pyproject.toml $(BIN)/python
	$(PIP) install -e '.[auto,tui]'
	@touch $@

$(VENV)/.test: pyproject.toml $(BIN)/python
	$(PIP) install -e '.[auto,tui]' --group test
	@touch $@

$(VENV)/.lint: pyproject.toml $(BIN)/python
	$(PIP) install --group lint
	@touch $@

.venv-deployments/.done: pyproject.toml $(BIN)/python
	$(BIN)/python -m venv .venv-deployments
	.venv-deployments/bin/python -m pip --disable-pip-version-check -q install 'pip >= 25.1'
	.venv-deployments/bin/python -m pip --disable-pip-version-check -q install -e '.[auto,tui]' --group deployments
	@touch $@

demo: $(VENV)/.demo ## a leaking service is found out, a healthy one is left in peace (one minute, no network)
	@$(BIN)/otel-memleak demo

test: $(VENV)/.test ## the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/.test ## the tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout 600 --ignore tests/ops --ignore tests/deployments

test-deployments: .venv-deployments/.done ## real servers with several workers (half an hour; builds uWSGI, needs a C compiler)
	.venv-deployments/bin/python -m pytest -n 0 -m slow tests/deployments

soak: $(VENV)/.test ## we never leak: hours; SOAK="--cycles 1000 --samples 100000 --alerts 1000 --seconds 120" for minutes
	$(BIN)/python tests/benchmarks/soak.py $(SOAK)

sbom: $(BIN)/python ## a software bill of materials of an installation, in dist/sbom.json (CycloneDX)
	rm -rf .venv-sbom && $(BIN)/python -m venv .venv-sbom/installed && $(BIN)/python -m venv .venv-sbom/tool
	.venv-sbom/installed/bin/python -m pip -q install '.[auto]'
	.venv-sbom/tool/bin/python -m pip -q install cyclonedx-bom
	mkdir -p dist && .venv-sbom/tool/bin/cyclonedx-py environment --output-file dist/sbom.json .venv-sbom/installed

reproducible: $(BIN)/python ## build twice and compare, byte by byte
	$(PIP) install build
	SOURCE_DATE_EPOCH=1700000000 $(BIN)/python -m build -o .venv/first >/dev/null
	SOURCE_DATE_EPOCH=1700000000 $(BIN)/python -m build -o .venv/second >/dev/null
	diff -r .venv/first .venv/second && sha256sum .venv/first/*

e2e: $(VENV)/.test ## the shipped Collector configuration with the real programs, built from source where need be (needs Go)
	$(BIN)/python collector/programs.py
	$(BIN)/python -m pytest -m slow --timeout 600 tests/ops

bench: $(VENV)/.test ## what watching costs, as ratios measured side by side
	$(BIN)/python tests/benchmarks/overhead.py
	PYTHONPATH=tests $(BIN)/python -m benchmarks.census

bench-detection: $(VENV)/.test ## the verdict and the usual alternatives, on a corpus the project generates
	PYTHONPATH=tests $(BIN)/python -m benchmarks.detection --jobs 2

bench-routes: $(VENV)/.test ## which endpoint leaks: forty simulated services of each kind
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes

lint: $(VENV)/.test $(VENV)/.lint ## style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

build: $(BIN)/python ## wheel and source distribution, in dist/
	$(PIP) install build
	$(BIN)/python -m build

clean: ## remove what the other targets have made
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
