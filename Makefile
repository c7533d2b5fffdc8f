# Two commands do it all: `make demo` shows the whole job, `make test` proves it. `make` alone lists the rest.

SUITABLE = import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# The newest that works: a name on the path may be a shim with nothing behind it.
PYTHON ?= $(or $(shell for it in python3.13 python3.12 python3.11 python3 python; do \
	$$it -c '$(SUITABLE)' 2>/dev/null && echo $$it && break; done),python3)
HOME_FOLDER ?= var
SOAK ?= 3000
SCHEDULES ?= 300
RUNS ?= 200
KILLS ?= 1000
CUSTOMERS ?= 1000
TEST_OPTIONS ?=
READY = .venv/.ready
SPARK_READY = .venv/.ready-spark
BENCH_READY = .venv/.ready-bench
SQL = models tests/warehouse
COMPILE = .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --quiet

.DEFAULT_GOAL := help
.PHONY: help setup setup-runtime setup-spark setup-bench demo test parity parity-servers soak soak-publish soak-runs soak-kills \
	soak-hostile bench-publish check format ui docs dictionary bench bench-hostile bench-landing bench-billion bench-safety lock sbom check-runtime clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(READY) ## Make the environment in .venv (the other targets do so themselves)

$(READY): requirements.lock requirements-dev.lock pyproject.toml
	@$(PYTHON) -c '$(SUITABLE)' || \
		{ echo "Billhouse needs Python 3.11, 3.12 or 3.13; $(PYTHON) is not. Say where one is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version); the first time takes a minute or two ..."
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock -r requirements-dev.lock
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# Compiled once here, every later start is seconds faster, also where Python may not write bytecode as it runs.
	@env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m compileall -q -j 0 .venv pipeline orchestration >/dev/null 2>&1 || true
	@touch $(READY)

setup-runtime: $(READY) ## Make the environment of a deployment: without the packages that only develop
	@.venv/bin/python -m pip uninstall --quiet --yes -r requirements-dev.lock
	@rm $(READY)

setup-spark: $(SPARK_READY) ## Add what Spark needs to it, but for Java; half a gigabyte

setup-bench: $(BENCH_READY) ## Add what builds are measured against: Polars

.venv/.ready-%: requirements-%.lock $(READY)
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --require-hashes -r $<
	@touch $@

demo: $(READY) ## Run the whole job on generated usage: land, build, close, publish to the local Stripe emulator, export
	@.venv/bin/billhouse --home $(HOME_FOLDER) demo

test: $(READY) ## Run the whole test suite
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(TEST_OPTIONS)

parity: $(SPARK_READY) ## Build demo, grid and 200 random histories on DuckDB and on Spark, and compare every report to the last digit
	@.venv/bin/python -m tests.parity

parity-servers: $(SPARK_READY) ## The same, smaller, by way of a Thrift and of a Spark Connect server that it starts
	@.venv/bin/python -m tests.parity.servers

soak: $(READY) ## Hold SOAK random histories (3000) against the reference engine
	@BILLHOUSE_SOAK=$(SOAK) .venv/bin/python -m pytest -n 2 --dist load -k "thousands or months_that_are_closed or builds_between or closing_two_months" \
		tests/models/test_against_reference.py tests/models/test_incremental.py tests/models/test_late_files.py

soak-publish: $(READY) ## Kill, cut off and refuse publishing at SCHEDULES steps (300); each invoice must be in Stripe once
	@BILLHOUSE_SOAK_PUBLISH=$(SCHEDULES) .venv/bin/python -m pytest tests/stripe/test_faults.py

soak-runs: $(READY) ## Launch RUNS builds at once (200) in Dagster; all must succeed, one at a time, and nothing be lost
	@BILLHOUSE_SOAK_RUNS=$(RUNS) .venv/bin/python -m pytest tests/orchestration/test_many_runs.py

soak-kills: $(READY) ## Kill every command at KILLS instants (1000); called again, each must leave what an untouched run leaves
	@BILLHOUSE_SOAK_KILLS=$(KILLS) .venv/bin/python -m pytest -n 2 --dist load -rP tests/kills

soak-hostile: $(READY) ## Publish a month of CUSTOMERS (1000) with hostile ids; each must be billed once or quarantined at landing
	@BILLHOUSE_SOAK_CUSTOMERS=$(CUSTOMERS) .venv/bin/python -m pytest -q -s tests/stripe/test_hostile_month.py

bench-publish: $(READY) ## Publish 5,000 invoices to the emulator: throughput against its rate limit, peak memory
	@.venv/bin/python -m benchmarks.publish

bench: $(BENCH_READY) ## Time builds of 1 and 10 million events against a bare scan of the same files, Polars and pandas, with peak memory
	@.venv/bin/python -m benchmarks.usage --rows 1000000
	@.venv/bin/python -m benchmarks.usage --rows 10000000
	@.venv/bin/python -m benchmarks.usage --rows 10000000 --shape lifecycle
	@.venv/bin/python -m benchmarks.plot

bench-hostile: $(READY) ## Land a million hostile rows and 1,000 hostile files: each accounted for, with peak memory
	@.venv/bin/python -m benchmarks.hostile

bench-landing: $(READY) ## Land 1 and 10 million rows from each format: rows a second, peak memory
	@.venv/bin/python -m benchmarks.landing

bench-billion: $(READY) ## The same for a billion heartbeats over 300 days; takes a quarter of an hour, and 20 GB of disk
	@.venv/bin/python -m benchmarks.usage --rows 1000000000 --days 300 --peers

bench-safety: $(READY) ## Compare landing, close and publish with those of another checkout: make bench-safety AGAINST=PATH
	@.venv/bin/python -m benchmarks.safety_cost --against $(AGAINST)

check: $(READY) ## Check style and types
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-logo
	@.venv/bin/sqlfluff lint --processes 2 $(SQL)

format: $(READY) ## Put style right
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .
	@.venv/bin/sqlfluff fix --processes 2 $(SQL)

ui: $(READY) ## Serve the Dagster UI on this machine, at http://127.0.0.1:3000
	@.venv/bin/billhouse --home $(HOME_FOLDER) ui

docs: $(READY) ## Write dbt's pages on the models, from the last build
	@.venv/bin/billhouse --home $(HOME_FOLDER) docs

dictionary: $(READY) ## Write docs/data-dictionary.md anew, from the reports' yml
	@.venv/bin/python -m pipeline.warehouse.data_dictionary

lock: $(READY) ## Resolve the dependencies again, to the newest versions: what runs, and on top of it what develops, Spark and benchmarks
	@$(COMPILE) --upgrade --annotation-style line -o requirements.lock
	@.venv/bin/python -m deploy.sbom
	@for extra in dev spark bench; do \
		$(COMPILE) --extra $$extra --constraint requirements.lock $$(test $$extra = dev || echo --constraint requirements-dev.lock) \
			$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements.lock) --upgrade --no-annotate -o requirements-$$extra.lock || exit 1; \
	done

sbom: $(READY) ## Write deploy/sbom.cdx.json, the list of the packages that the image installs, from requirements.lock
	@.venv/bin/python -m deploy.sbom

check-runtime: $(READY) ## Install requirements.lock alone in a new environment, as the image does, and run the demo there; downloads 300 MB
	@.venv/bin/python -m tests.project.runtime

clean: ## Remove what set-up and builds made; the home folder stays
	@rm -rf .venv target logs .pytest_cache .mypy_cache .ruff_cache
