# `make` alone lists the targets. What they install goes to .venv and
# tests/node/node_modules, pinned by hash, and nowhere else.

# A distribution's Python is built with profile-guided optimisation. One built from source
# often is not, and then each request costs a quarter more; see docs/performance.md.
PYTHON ?= $(firstword $(shell for python in /usr/bin/python3 python3; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo $$python; done) python3)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check --no-input install
# --no-deps: the locks are complete, and a pip that looked for itself would, for an extra, find
# a newer release than the pinned one and stop.
HASHED := $(PIP) --require-hashes --no-deps --only-binary :all:
COMPILE = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	$(if $(UPGRADE),--upgrade)

# npm writes this file last, so it is the stamp of a whole install.
NODE_MODULES := tests/node/node_modules/.package-lock.json

.DEFAULT_GOAL := help
.PHONY: help run test kill-test fmt lint type bench soak stall attack fuzz sbom licences audit image-check lock ci

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: $(VENV)/.run ## start the gateway; without a credential, on simulated upstreams
	@if [ -z "$$PASSGATE_CONFIG" ] && [ ! -e passgate.toml ]; then \
		if [ -z "$$ANTHROPIC_API_KEY$$ANTHROPIC_AUTH_TOKEN$$CLAUDE_CODE_OAUTH_TOKEN" ]; then \
			exec $(VENV)/bin/passgate serve --demo; \
		fi; \
		if [ -z "$$PASSGATE_KEY" ]; then \
			PASSGATE_KEY=$$($(PY) -c 'import secrets; print("pg_" + secrets.token_urlsafe(32))'); \
			export PASSGATE_KEY; \
			echo "passgate: a key was made for this run; a client's shell needs it first:" >&2; \
			echo "passgate:   export PASSGATE_KEY=$$PASSGATE_KEY" >&2; \
		fi; \
	fi; \
	exec $(VENV)/bin/passgate serve

test: $(VENV)/.test $(if $(shell command -v npm),$(NODE_MODULES)) ## run the whole test suite
	@$(PY) -m pytest -n auto --dist worksteal

kill-test: $(VENV)/.test ## kill the gateway fifty times under load, and count what its ledger kept
	@PASSGATE_KILLS=50 $(PY) -m pytest -q tests/loopback/test_ledger_kill.py

fmt: $(VENV)/.dev ## format the code, and fix what can be fixed safely
	@$(VENV)/bin/ruff check --quiet --fix-only .
	@$(VENV)/bin/ruff format .

lint: $(VENV)/.dev ## check format and style, change nothing
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .

type: $(VENV)/.dev ## check the types
	@$(VENV)/bin/mypy

bench: $(VENV)/.run ## measure the gateway beside nginx on this machine (Linux, six minutes; ARGS="--only gemini")
	@$(PY) -m bench $(ARGS)

soak: $(VENV)/.run ## 500 streams for SOAK_S seconds (1200): is memory flat, is the ledger whole (Linux)
	@$(PY) -m bench.soak --seconds $(or $(SOAK_S),1200)

stall: $(VENV)/.run ## what holds the event loop, with everything on, for STALL_S seconds (60) (Linux)
	@$(PY) -m bench.stall --seconds $(or $(STALL_S),60)

attack: $(VENV)/.test ## attack the gateway with raw bytes, and nginx beside it (two minutes)
	@$(PY) -m tests.attack

fuzz: $(VENV)/.test ## fuzz every parser for FUZZ_S seconds in all (60); what is found is written down
	@$(PY) -m tests.fuzz --plain --budget $(or $(FUZZ_S),60) --seed $(or $(FUZZ_SEED),1)

sbom: $(VENV)/.dev ## write what passgate is made of to dist/passgate.cdx.json (CycloneDX)
	@$(PY) tools/supply.py sbom dist/passgate.cdx.json

licences: $(VENV)/.dev ## check the licence of everything that is locked
	@$(PY) tools/supply.py licences

audit: $(VENV)/.dev ## ask for known weaknesses of what is locked, where a database can be reached
	@$(PY) tools/supply.py audit

image-check: $(VENV)/.made ## build the container image and put a request through it (Linux, as root)
	@PYTHON=$(PY) tools/image_check.sh

lock: $(VENV)/.dev ## compile requirements/ and the npm lock anew; UPGRADE=1 takes newer versions
	@$(COMPILE) pyproject.toml --group dev -o requirements/dev.txt
	@$(COMPILE) pyproject.toml --group test -c requirements/dev.txt -o requirements/test.txt
	@$(COMPILE) pyproject.toml -c requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	@cd tests/node && npm $(if $(UPGRADE),update,install) --silent --package-lock-only
	@! grep -nE 'https?://' requirements/*.txt tests/node/package-lock.json

ci: export PASSGATE_NO_SKIP := 1
ci: export SOAK_S := 60
ci: test lint type licences audit fuzz soak image-check ## all that CI runs; here a skipped test is a failed one

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "passgate needs Python 3.11 or newer; PYTHON=... names another one.")'
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "Python's venv module is missing or incomplete (Debian: apt install python3-venv)."; exit 1; }
	@touch $@

# The project is built with what build.txt pins, so that no build tool is fetched unpinned.
$(VENV)/.run: requirements/run.txt requirements/build.txt pyproject.toml | $(VENV)/.made
	@echo "Setting up $(VENV) ..."
	@$(HASHED) -r requirements/build.txt -r requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.run
	@$(HASHED) -r requirements/test.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.test
	@$(HASHED) -r requirements/dev.txt
	@touch $@

# Without the SDK its tests skip themselves, so this fails only where no skip is allowed.
$(NODE_MODULES): tests/node/package.json tests/node/package-lock.json
	@cd tests/node && npm ci --silent || { \
		echo "npm ci failed in tests/node: the tests that use it are skipped."; \
		[ "$$PASSGATE_NO_SKIP" != 1 ]; }
