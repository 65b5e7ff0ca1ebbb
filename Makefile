# Everything a developer types. The only tools needed beforehand are git, make and python3 with venv.
SHELL := /bin/bash
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
RUN := .venv/bin

.PHONY: help run demo pictures test test-fast test-long test-image check format lock notebooks recount soak bench bench-lake bench-upkeep bench-pages bench-readers bench-client truth stack client-types secrets clean

help:  ## this list
	@grep -hE '^[a-z.-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: .venv/.installed  ## everything on this machine, with 20 simulated viewers
	$(RUN)/playhead up --viewers 20

demo: data/demo/.filled  ## a lake with a week of a generated service, and the pages over it
	@echo 'A week is in data/demo; players/README.md has its stories. Ask it:'
	@echo '  $(RUN)/playhead sql --data data/demo "FROM error_ranking"'
	$(RUN)/playhead notebooks --data data/demo

pictures: data/pictures/.filled  ## the README's pictures of the pages, with Chromium, over a week that is always the same
	PYTHONPATH=tests $(RUN)/python tests/pictures.py --data data/pictures

data/pictures/.filled: HISTORY = --until 2025-11-22T19:50:00
data/demo/.filled data/pictures/.filled: | .venv/.installed
	@echo 'Filling $(@D) with a week of 3,000 viewers: about a minute on two idle cores, and 440 MB.'
	rm -rf $(@D)
	$(RUN)/playhead init --data $(@D)
	$(RUN)/playhead simulate --data $(@D) --history 7d --viewers 3000 --seed 7 $(HISTORY)
	$(RUN)/playhead worker --data $(@D) --until-read
	$(RUN)/playhead upkeep --data $(@D)
	touch $@

# What needs no broker, database or browser.
FAST := tests/sessions tests/schemas tests/players $(addprefix tests/consumers/, test_decode.py test_sessions.py \
	test_closing_in_time.py test_known_ids.py test_late_data.py test_breaker.py test_halts.py) tests/lake/test_query.py \
	tests/commands/test_session_show.py tests/whole/test_docs.py tests/whole/test_layers.py
PYTEST := $(RUN)/pytest --numprocesses 2 --dist worksteal

test: test-fast  ## the test suite, in two processes at a time
	$(PYTEST) $(addprefix --ignore=,$(FAST))

test-fast: .venv/.installed  ## what needs no broker, database or browser; measures the branches of sessions/
	$(PYTEST) --cov=sessions $(FAST)

test-long: .venv/.installed  ## the kills and seeds of which `make test` takes a sample
	$(PYTEST) --long --timeout 1800 $(addprefix tests/lake/test_, rollups.py schema.py settled.py) \
		tests/whole/test_soak.py

test-image: .venv/.installed  ## build the Containerfile on a minimal Debian and run the image (root, buildah, podman, debootstrap)
	$(RUN)/pytest tests/whole/test_deployment.py -m slow

check: .venv/.installed  ## format, lint, types, import contracts
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: .venv/.installed  ## fix the format
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

notebooks: .venv/.installed  ## serve the notebooks as pages; prints their address
	$(RUN)/playhead notebooks

recount: .venv/.installed  ## fold and recount any SESSIONS (20,000), and compare every number of them
	SESSIONS=$(or $(SESSIONS),20000) FIRST=$(or $(FIRST),0) $(RUN)/pytest tests/sessions/test_recount.py --numprocesses 2

soak: .venv/.installed  ## random kills under load (KAFKA=1: of brokers and databases too); the verdict uses none of our code
	PYTHONPATH=tests $(RUN)/python -m soak $(if $(KAFKA),--kafka --ingests 2 --workers 2) --events $(or $(EVENTS),1000000) --kills $(or $(KILLS),200) --seed $(or $(SEED),1)

bench: .venv/.installed  ## requests, events and freshness, next to the best peer
	PYTHONPATH=tests $(RUN)/python tests/bench.py --log embedded
	PYTHONPATH=tests $(RUN)/python tests/bench.py --log kafka

bench-lake: .venv/.installed  ## what a question costs in generated lakes of SESSIONS="300000 1000000" (10000000: an hour)
	PYTHONPATH=tests $(RUN)/python tests/bench_lake.py --sessions $(or $(SESSIONS),300000 1000000) $(if $(FOLDER),--folder $(FOLDER) --keep)

bench-readers: .venv/.installed  ## 1,000 questions while a worker writes as fast as it can: none fails, and what it costs
	PYTHONPATH=tests $(RUN)/python tests/bench_readers.py --questions $(or $(QUESTIONS),1000)

bench-upkeep: .venv/.installed  ## MINUTES (10) of full load beside upkeep and backups: nothing fails, sizes are bounded
	PYTHONPATH=tests $(RUN)/python tests/bench_upkeep.py --minutes $(or $(MINUTES),10)

bench-pages: .venv/.installed  ## how long the pages take over the lake in DATA (data/demo), with Chromium
	PYTHONPATH=tests $(RUN)/python tests/bench_pages.py --data $(or $(DATA),data/demo)

bench-client: .venv/.installed  ## how near to what played is what the web client tells, in Chromium; VIEWINGS (30) of each kind
	PYTHONPATH=tests $(RUN)/python tests/bench_client.py --viewings $(or $(VIEWINGS),30)

truth: .venv/.installed  ## how far the numbers are from what viewers saw, by kind of session
	PYTHONPATH=tests $(RUN)/python tests/truth.py --sessions $(or $(SESSIONS),20000) --seed $(or $(SEED),1)

stack: .venv/.installed  ## Kafka, PostgreSQL, INGESTS (2) from PORT (8080) on, WORKERS (2) and upkeep as plain processes
	$(RUN)/python tests/stack.py --port $(or $(PORT),8080) --ingests $(or $(INGESTS),2) --workers $(or $(WORKERS),2)

client-types: .venv/.installed  ## the .d.ts files of clients/web, made of the types in its sources (needs npm)
	PYTHONPATH=tests $(RUN)/python -c 'from rigs.node_packages import *; run_node_tool("tsc", "--project", WEB, "--outDir", "build/types")'
	cp build/types/*.d.ts clients/web/

# Containers run as a user of their own, so the files may be read by all, in a folder that only its owner enters. Those of
# an .env, where releases before had them, are taken over.
secrets:  ## secrets for compose.yaml, files in secrets/, each made once
	umask 077 && mkdir -p secrets && cd secrets && touch mac_key_previous && \
	for name in api_keys mac_key pseudonym_key lake_catalog_password; do test -s $$name || \
		{ $(PYTHON) -c 'import secrets, sys, pathlib; env = pathlib.Path("../.env"); \
			lines = env.read_text().splitlines() if env.exists() else []; \
			kept = dict(line.split("=", 1) for line in lines if "=" in line); \
			print(kept.get("PLAYHEAD_" + sys.argv[1].upper()) or secrets.token_urlsafe(32))' $$name > $$name.part && \
		mv $$name.part $$name; }; \
	done && chmod 444 *

lock: $(UV)  ## resolve pyproject.toml into requirements.lock (names, versions, hashes; no addresses)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
		--python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements.lock

.venv/.installed: requirements.lock pyproject.toml | $(UV)
	test -x .venv/bin/python || $(UV) venv --quiet --python $(PYTHON) .venv
	VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

clean:  ## remove everything that was installed or built
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache build dist
