# `make` lists the targets. Everything is installed into .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The tools we are compared with live in an environment of their own, never among our dependencies.
BENCH_VENV := .bench-venv
PEERS := opentelemetry-instrumentation-system-metrics prometheus_client memwatcher python-leak-hunter \
	pyroscope-io ddtrace memray
SOURCES := src tests examples collector

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

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

.venv-neighbours/.done: pyproject.toml $(BIN)/python
	$(BIN)/python -m venv .venv-neighbours
	.venv-neighbours/bin/python -m pip --disable-pip-version-check -q install 'pip >= 25.1'
	.venv-neighbours/bin/python -m pip --disable-pip-version-check -q install -e '.[auto]' --group neighbours
	@touch $@

demo: $(VENV)/.demo ## a leaking service is found out, a healthy one is left in peace (one minute, no network)
	@$(BIN)/otel-memleak demo

test: $(VENV)/.test ## the test suite
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The instrumentations of most frameworks insist on the exact patch release of OpenTelemetry they were made for,
# which is seldom the newest: they get an environment of their own.
$(VENV)/.frameworks: pyproject.toml $(BIN)/python
	$(PYTHON) -m venv $(VENV)/frameworks
	$(VENV)/frameworks/bin/python -m pip --disable-pip-version-check -q install 'pip >= 25.1'
	$(VENV)/frameworks/bin/python -m pip --disable-pip-version-check -q install -e '.[auto]' --group frameworks
	@touch $@

LIVE := tests/integration/test_frameworks.py tests/integration/test_witnesses_live.py

test-slow: $(VENV)/.test ## the tests that take minutes
	$(BIN)/python -m pytest -m slow -n 2 --timeout 600 --ignore tests/ops --ignore tests/deployments \
		$(addprefix --ignore ,$(LIVE))

test-live: $(VENV)/.test $(VENV)/.frameworks ## six frameworks and a dozen programs, leaky and innocent, for a minute or two each
	$(BIN)/python -m pytest -m slow -n 2 --timeout 600 $(LIVE)

test-deployments: .venv-deployments/.done ## real servers with several workers (half an hour; builds uWSGI, needs a C compiler)
	.venv-deployments/bin/python -m pytest -n 0 -m slow tests/deployments

test-matrix: $(VENV)/.test ## oldest and newest OpenTelemetry; MATRIX="python3.10 python3.14" chooses the interpreters
	$(BIN)/python tests/matrix.py $(MATRIX)

test-wheel: build ## the unit tests against the built wheel, in a copy of the repository without src/
	rm -rf .venv-wheel && $(PYTHON) -m venv .venv-wheel && mkdir .venv-wheel/tree
	cp -r tests examples collector README.md CHANGELOG.md LICENSE Makefile pyproject.toml .github .venv-wheel/tree
	.venv-wheel/bin/python -m pip --disable-pip-version-check -q install 'pip >= 25.1'
	.venv-wheel/bin/python -m pip --disable-pip-version-check -q install "$$(ls dist/*.whl)[auto,tui]" --group test
	.venv-wheel/bin/python -m pip check
	cd .venv-wheel/tree && ../bin/python -m pytest -n 2 --dist loadfile tests/unit tests/property

test-neighbours: .venv-neighbours/.done ## beside ddtrace, sentry, prometheus and other instrumentations (ten minutes)
	.venv-neighbours/bin/python -m pytest -m slow --timeout 600 tests/neighbours

fuzz: $(VENV)/.test ## every parser against thousands of damaged inputs (FUZZ_EXAMPLES=3000 each, some minutes)
	$(BIN)/python -m pytest -n 2 --timeout 3600 --hypothesis-profile=fuzz tests/unit/test_probes_fuzz.py \
		tests/unit/test_wording.py tests/unit/test_hostile_names.py tests/property/test_state_file.py \
		tests/property/test_fuzz_settings.py tests/property/test_fuzz_recordings.py

fuzz-coverage: $(VENV)/.test ## the same, led by what has not been covered yet (atheris; FUZZ_SECONDS=60 for each test)
	$(PIP) install atheris
	$(BIN)/python tests/coverage_fuzz.py --seconds $(or $(FUZZ_SECONDS),60)

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
	$(PIP) install --group ops
	$(BIN)/python collector/programs.py
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout 600 tests/ops

$(BENCH_VENV)/.tools: pyproject.toml
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check -q install -e '.[auto]'
	@for tool in $(PEERS); do $(BENCH_VENV)/bin/python -m pip --disable-pip-version-check -q install $$tool || \
		echo "$$tool cannot be installed here and is left out"; done
	@touch $@

bench: $(VENV)/.test $(BENCH_VENV)/.tools ## what watching costs, ours and others' in one run (half an hour)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.pauses
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.throughput
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.peers --write
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.scaling --write
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.development
	PYTHONPATH=tests $(BIN)/python -m benchmarks.census

bench-instructions: $(VENV)/.test ## fails when a sample takes 5 % more instructions than recorded (needs valgrind)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.overhead.instructions

bench-detection: $(VENV)/.test ## the verdict and the usual alternatives, on a corpus the project generates
	PYTHONPATH=tests $(BIN)/python -m benchmarks.detection --jobs 2

bench-routes: $(VENV)/.test ## which endpoint leaks: forty simulated services of each kind; what counting costs
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes.requests
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes.requests --sampled 0.1
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes.requests --bare
	PYTHONPATH=tests $(BIN)/python -m benchmarks.routes.spans --instructions

stress: $(VENV)/.test ## a thousand looks at the heap of a busy process, half of the snapshots killed (many minutes)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.census.stress

bench-witnesses: $(VENV)/.test ## what malloc, swap, file pages, requests and caches add to resident memory, on live programs
	PYTHONPATH=tests $(BIN)/python -m benchmarks.witnesses --why
	PYTHONPATH=tests $(BIN)/python -m benchmarks.witnesses --others --why

lint: $(VENV)/.test $(VENV)/.lint ## style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/mypy tests/typing/api.py
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.lint ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

build: $(BIN)/python ## wheel and source distribution, in dist/
	$(PIP) install build
	$(BIN)/python -m build

clean: ## remove what the other targets have made
	rm -rf $(VENV) $(BENCH_VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
