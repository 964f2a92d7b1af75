# Every verb sets up what it needs; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
# The longest first: two processes share the files between them, each with a Ray of its own.
TESTS ?= tests/e2e tests/integration tests/contract tests/architecture tests/unit docs/examples/gates
SIDE_BY_SIDE = -n 2 --max-worker-restart 1 --dist loadfile --no-loadscope-reorder
ARGS ?=
# $(call tests,ARGUMENTS,PATHS): pytest; what fails gets one more run, alone (docs/decisions/0023).
define tests
	@status=0; $(BIN)/pytest $(1) $(2) $(ARGS) || status=$$?; \
	if [ $$status -eq 1 ]; then \
	  echo 'pytest: what failed runs once more, alone; a test that passes now is unsteady, and its first failure is above'; \
	  status=0; $(BIN)/pytest $(1) $(2) $(ARGS) -n 0 -x --last-failed --last-failed-no-failures none || status=$$?; \
	fi; exit $$status
endef
# Areas of the benchmarks: what can be run by itself; the others are imported by them.
AREAS = $(sort $(basename $(notdir $(shell grep -l '__main__' benchmarks/*.py 2>/dev/null))))

.PHONY: help setup demo test check soak bench lock

help:  ## this list
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /\1\t/' | expand -t 13 | sed -E "s/^bench-%    /bench-AREA/"

setup:  ## create .venv from requirements.lock; nothing to do when it is up to date
	@.ci/setup

demo: setup  ## flights from a Delta table to a canaried model, by one command
	@$(BIN)/sluiceway run jobs/configs/flights.yaml --fresh

test: setup  ## the whole test suite; TESTS=tests/unit and ARGS='-k name' choose
	$(call tests,-q -m 'not soak and not gpu' -o faulthandler_timeout=660 $(SIDE_BY_SIDE),$(TESTS))

check: setup  ## lint, format, types, floors, unit and architecture tests: 3 to 4 minutes
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	$(call tests,-q -m 'not soak and not gpu and not integration' $(SIDE_BY_SIDE),tests/unit tests/architecture docs/examples/gates)

soak: setup  ## the tests that take too long for `make test`
	$(call tests,-m 'soak and not gpu' $(SIDE_BY_SIDE),$(TESTS))

bench: setup  ## all measurements side by side with the peers; fails when a goal is missed
	@failed=''; for area in $(AREAS); do $(BIN)/python benchmarks/$$area.py || failed="$$failed $$area"; done; \
	if [ -n "$$failed" ]; then echo "bench: short or failed:$$failed" >&2; exit 1; fi

bench-%: setup  ## one area of the measurements
	@if [ ! -f 'benchmarks/$*.py' ]; then echo 'no area $*; there are: $(AREAS)' >&2; exit 2; fi
	@$(BIN)/python 'benchmarks/$*.py'

lock:  ## resolve requirements.lock, and that of the tests with DVC (docs/decisions/0017); ARGS=--upgrade for newer versions
	@tool=$$(mktemp -d); trap 'rm -rf "$$tool"' EXIT; \
	python3 -m venv "$$tool" && "$$tool/bin/pip" install -q --disable-pip-version-check uv && \
	for each in pyproject.toml:requirements.lock tests/requirements-dvc.in:tests/requirements-dvc.txt; do \
	  "$$tool/bin/uv" pip compile "$${each%:*}" $$([[ $$each != *.toml:* ]] || echo --all-extras) --universal \
	    --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -q \
	    -o "$${each#*:}" $(ARGS); \
	done
