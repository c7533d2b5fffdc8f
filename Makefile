# `make demo` runs the whole job on generated usage, `make test` runs the tests, `make` lists all targets.

SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# The newest Python that runs: a name on the path may be a shim without an interpreter.
PYTHON ?= $(or $(shell for it in python3.13 python3.12 python3.11 python3 python; do \
	$$it -c '$(SUITABLE)' 2>/dev/null && echo $$it && break; done),python3)
HOME_FOLDER ?= var
SOAK ?= 3000
SCHEDULES ?= 300
RUNS ?= 200
KILLS ?= 1000
RECEIVE_KILLS ?= 100
FEED_KILLS ?= 100
CUSTOMERS ?= 1000
TEST_OPTIONS ?=
READY = .venv/.ready
SPARK_READY = .venv/.ready-spark
BENCH_READY = .venv/.ready-bench
DOCS_READY = .venv/.ready-docs
SQL = models tests/warehouse
COMPILE = .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --quiet

.DEFAULT_GOAL := help
.PHONY: help setup setup-runtime setup-spark setup-bench setup-docs demo test test-fast parity parity-servers soak soak-publish soak-runs soak-kills \
	soak-hostile soak-receive soak-feeds soak-collect bench-receive bench-publish check format ui docs site reference bench bench-hostile bench-landing bench-billion bench-safety lock sbom check-runtime clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Create the environment in .venv (every other target does this first)

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c '$(SUITABLE)' || \
		{ echo "Billhouse needs Python 3.11, 3.12 or 3.13; $(PYTHON) is another version. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version); the first time takes a minute or two ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock -r requirements-dev.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# Bytecode is compiled once here: every later start is seconds faster, also where Python may not write it at run time.
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m compileall -q -j 0 .venv pipeline orchestration >/dev/null 2>&1 || true
	@touch $(READY)

setup-runtime: $(READY) ## Create the environment of a deployment: without the development packages
	@.venv/bin/python -m pip uninstall --quiet --yes -r requirements-dev.lock
	@rm $(READY)

setup-spark: $(SPARK_READY) ## Install the Spark dependencies (500 MB; Java not included)

setup-bench: $(BENCH_READY) ## Install Polars, which the benchmarks compare with, and ClickHouse's engine for its tests (500 MB)

setup-docs: $(DOCS_READY) ## Install the site generator

.venv/.ready-%: requirements-%.lock $(READY)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r $<
	@touch $@

demo: $(READY) ## Run the whole job on generated usage: land, build, close, publish to the Stripe emulator, export; then: make ui
	@.venv/bin/billhouse --home $(HOME_FOLDER) demo

test: $(READY) ## Run the whole test suite
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TEST_OPTIONS)

test-fast: $(READY) ## Run the tests that need no dbt build
	@.venv/bin/python -m pytest -n 2 --dist worksteal --fast -q $(TEST_OPTIONS)

parity: $(SPARK_READY) ## Build the demo, the grid data and 200 random histories on DuckDB and on Spark; compare every report to the last digit
	@.venv/bin/python -m tests.parity

parity-servers: $(SPARK_READY) ## Run a smaller parity check on a Thrift server and on a Spark Connect server
	@.venv/bin/python -m tests.parity.servers

soak: $(READY) ## Compare SOAK random histories (3000) with the reference engine
	@BILLHOUSE_SOAK=$(SOAK) .venv/bin/python -m pytest --timeout=0 -n 2 --dist load -k "thousands or months_that_are_closed or builds_between or closing_two_months" \
		tests/models/test_against_reference.py tests/models/test_incremental.py tests/models/test_late_files.py

soak-publish: $(READY) ## Inject failures into publishing at SCHEDULES steps (300); each invoice must be in Stripe exactly once
	@BILLHOUSE_SOAK_PUBLISH=$(SCHEDULES) .venv/bin/python -m pytest --timeout=0 tests/stripe/test_faults.py

soak-runs: $(READY) ## Launch RUNS Dagster builds at once (200); all must succeed, one at a time, without losing data
	@BILLHOUSE_SOAK_RUNS=$(RUNS) .venv/bin/python -m pytest --timeout=0 tests/orchestration/test_many_runs.py

soak-kills: $(READY) ## Kill every command at KILLS instants (1000); repeated, each must give the result of an uninterrupted run
	@BILLHOUSE_SOAK_KILLS=$(KILLS) .venv/bin/python -m pytest --timeout=0 -n 2 --dist load -rP tests/kills

soak-feeds: $(READY) ## Kill the consumer of each queue FEED_KILLS times (100); each message must land exactly once
	@BILLHOUSE_SOAK_FEEDS=$(FEED_KILLS) .venv/bin/python -m pytest --timeout=0 -q -rP tests/feeds/queues/test_queue_kills.py

soak-collect: $(READY) ## Kill the collecting commands KILLS times (100) each, at every step and at random; each row must land once
	@BILLHOUSE_SOAK_COLLECT=$(if $(filter file,$(origin KILLS)),100,$(KILLS)) .venv/bin/python -m pytest --timeout=0 -q -s \
		-k "killed_between_every_two_steps" tests/feeds

soak-hostile: $(READY) ## Publish a month of CUSTOMERS (1000) with hostile ids; each must be billed once or quarantined at landing
	@BILLHOUSE_SOAK_CUSTOMERS=$(CUSTOMERS) .venv/bin/python -m pytest --timeout=0 -q -s tests/stripe/test_hostile_month.py

soak-receive: $(READY) ## Kill `billhouse receive` RECEIVE_KILLS times (100) while clients post; every row that was answered 202 must be in the inbox
	@BILLHOUSE_SOAK_RECEIVE=$(RECEIVE_KILLS) .venv/bin/python -m pytest --timeout=0 -q -rP tests/feeds/receive/test_kills.py

bench-receive: $(READY) ## Measure `billhouse receive` with wrk; then send it 10,000 hostile requests
	@.venv/bin/python -m benchmarks.receive
	@.venv/bin/python -m benchmarks.receive_hostile

bench-publish: $(READY) ## Publish 5,000 invoices to the emulator: throughput under its rate limit, peak memory
	@.venv/bin/python -m benchmarks.publish

bench: $(BENCH_READY) ## Time builds of 1 and 10 million events; compare with a bare scan, Polars and pandas; peak memory
	@.venv/bin/python -m benchmarks.usage --rows 1000000
	@.venv/bin/python -m benchmarks.usage --rows 10000000
	@.venv/bin/python -m benchmarks.usage --rows 10000000 --shape lifecycle
	@.venv/bin/python -m benchmarks.plot

bench-hostile: $(READY) ## Land a million hostile rows and 1,000 hostile files: each accounted for; peak memory
	@.venv/bin/python -m benchmarks.hostile

bench-landing: $(READY) ## Land 1 and 10 million rows of each format: rows per second, peak memory
	@.venv/bin/python -m benchmarks.landing
	@.venv/bin/python -m benchmarks.small_files

bench-billion: $(READY) ## Time a build of a billion heartbeats over 300 days (15 minutes, 20 GB of disk)
	@.venv/bin/python -m benchmarks.usage --rows 1000000000 --days 300 --peers

bench-safety: $(READY) ## Compare the speed of landing, close and publish with another checkout: make bench-safety AGAINST=PATH
	@.venv/bin/python -m benchmarks.safety_cost --against $(AGAINST)

check: $(READY) $(DOCS_READY) ## Check style, types, the order of packages and model layers, the site and every link
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/sqlfluff lint --processes 2 $(SQL)
	@.venv/bin/python -m pytest -q tests/models/test_layers.py
	@.venv/bin/python -m docs.generate --check
	@.venv/bin/python -m docs.generate.links
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict

format: $(READY) ## Format Python and SQL
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .
	@.venv/bin/sqlfluff fix --processes 2 $(SQL)

ui: $(READY) ## Serve the start page and the Dagster UI at http://127.0.0.1:3000
	@.venv/bin/billhouse --home $(HOME_FOLDER) ui

docs: $(READY) ## Write dbt's documentation of the models, as of the last build
	@.venv/bin/billhouse --home $(HOME_FOLDER) docs

site: $(DOCS_READY) ## Build the documentation as a site in site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

reference: $(READY) ## Generate the references, the data dictionary and the diagrams from the code and the yml
	@.venv/bin/python -m docs.generate

lock: $(READY) ## Resolve all dependencies to the newest versions: runtime, development, Spark, benchmarks, site, queues
	@$(COMPILE) --upgrade --annotation-style line -o requirements.lock
	@.venv/bin/python -m deploy.sbom
	@for extra in dev spark bench docs; do \
		$(COMPILE) --extra $$extra --constraint requirements.lock $$(test $$extra = dev || echo --constraint requirements-dev.lock) \
			$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.lock) --upgrade --no-annotate -o requirements-$$extra.lock || exit 1; \
	done
	@$(COMPILE) --extra kafka --extra nats --extra redis --extra sqs --constraint requirements.lock --constraint requirements-dev.lock \
		$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.lock) --no-annotate -o requirements-queues.lock

sbom: $(READY) ## Generate deploy/sbom.cdx.json, the packages of the image, from requirements.lock
	@.venv/bin/python -m deploy.sbom

check-runtime: $(READY) ## Run the demo in a new environment with requirements.lock alone, as in the image (downloads 300 MB)
	@.venv/bin/python -m tests.project.runtime

clean: ## Remove the environment and all caches; the home folder stays
	@rm -rf .venv target logs site .pytest_cache .mypy_cache .ruff_cache
