# The verbs of this repository. `make help` lists them; each does the set-up it needs, and a second run only what changed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo)
VENV := .venv
BIN := $(VENV)/bin
ENGINE := .engine
SUITES := $(CURDIR)/.suites
EXECUTABLE := python/dqlite/_bin/dqlite
RUST_SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
NATIVE := $(VENV)/.native

# Tests and the demo take the engine of this checkout and nothing that happens to be installed.
export DQLITE_ENGINE := $(CURDIR)/$(ENGINE)
export CARGO_TERM_COLOR ?= always

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: $(BIN)/.tools $(ENGINE)/BUNDLE.json ## Python tools, Rust test runner, engine bundle
	@command -v cargo-nextest >/dev/null || cargo install --locked cargo-nextest
	@apt-cache show libdqlite0 >/dev/null 2>&1 || $(AS_ROOT) apt-get update

.PHONY: build
build: setup $(NATIVE) ## the executable and the Python package, in $(VENV)

.PHONY: demo
demo: build ## three nodes, a killed leader, nothing lost: a scripted failover with a verdict
	@$(BIN)/python examples/python/demo.py

.PHONY: quick
quick: setup ## what needs no node: protocol, client, Rust units; the loop while editing
	cargo nextest run --locked -p dqlite-proto -p dqlite-client -p libdqlite-sys -p dqlite-node -p dqlite --lib

.PHONY: test
test: build ## every test: Rust, documentation examples, Python
	cargo nextest run --locked
	cargo nextest run --locked -p dqlite-client --features deadpool,refinery,stream --test adapters
	cargo test --locked --doc
	$(BIN)/pytest

.PHONY: test-sqlalchemy
test-sqlalchemy: build $(SUITES)/sqlalchemy-2.0 $(SUITES)/sqlalchemy-2.1 ## SQLAlchemy's dialect suite, 2.0 and 2.1, sync and asyncio
	PYTHONPATH=$(SUITES)/sqlalchemy-2.0:python $(BIN)/python python/suites/sqlalchemy/run.py
	PYTHONPATH=$(SUITES)/sqlalchemy-2.1:python $(BIN)/python python/suites/sqlalchemy/run.py

.PHONY: test-django
test-django: build $(SUITES)/django ## Django's own tests on the backend dqlite.django
	PYTHONPATH=$(SUITES)/django/lib:$(CURDIR)/python $(BIN)/python python/suites/django/run.py $(SUITES)/django/source

.PHONY: verify
verify: build $(BIN)/.gates ## the read-only checks: formats, lints, types, documentation, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p dqlite-client -p dqlite --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	DJANGO_SETTINGS_MODULE=django.conf.global_settings $(BIN)/python -m mypy.stubtest dqlite dqlitepy dqliteclient dqlitedbapi --concise --mypy-config-file python/tests/typing/stubtest.ini --allowlist python/tests/typing/stubtest-allow.txt
	$(BIN)/mypy --strict python/tests/typing
	$(BIN)/typos
	cargo deny --locked check licenses bans sources

.PHONY: fix
fix: setup ## rewrite files: formats and what the linters can repair
	cargo fmt --all
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: poison
poison: $(ENGINE)/BUNDLE.json ## inputs that kill a stock engine: what they do to one, and to a node of ours (slow, 10 GB of memory)
	cargo build --locked -p dqlite-cli -p dqlite-testkit
	target/debug/poison --stock
	DQLITE_POISON=slow target/debug/poison --executable target/debug/dqlite

.PHONY: drill-exact
SECONDS_PER_DRILL ?= 60
drill-exact: $(ENGINE)/BUNDLE.json ## count through killed leaders, with and without tokens; the verdict is the last line
	cargo build --locked -p dqlite-cli -p dqlite-testkit
	target/debug/drill-exact $(SECONDS_PER_DRILL) target/debug/dqlite

.PHONY: bench
bench: build ## Python against its peers, ratios in one interleaved run (wants CPython 3.13, or PYTHON313)
	$(BIN)/python bench/run.py

.PHONY: bench-arrow
bench-arrow: build ## bulk loads against single inserts, Arrow against rows
	$(BIN)/python bench/arrow.py

.PHONY: bench-client
bench-client: $(ENGINE)/BUNDLE.json ## the Rust client against a bare socket and against the engine's own time
	cargo run --locked --release -p dqlite-client --example floor

.PHONY: bench-gateway
bench-gateway: $(ENGINE)/BUNDLE.json ## what the gateway adds to a point query and to 60 rows, beside direct connections
	cargo run --locked --release -p dqlite-cli --example latency

.PHONY: bench-codec
bench-codec: ## speed of the codec: rows, parameters, requests
	cargo bench --locked -p dqlite-proto --bench codec

.PHONY: bench-counts
bench-counts: ## instructions of the codec against the committed table: the gate that noise cannot move
	@command -v valgrind >/dev/null || { $(AS_ROOT) apt-get update && $(AS_ROOT) apt-get install -y valgrind; }
	tools/count-instructions

.PHONY: simulate
simulate: setup ## 10,000 seeds of leader changes, partitions and crashes under the Rust client
	DQLITE_SIM_SEEDS=$${DQLITE_SIM_SEEDS:-10000} cargo nextest run --locked -p dqlite-client --test sim

.PHONY: ci
ci: verify bench-counts test simulate test-sqlalchemy test-django ## what a submission must pass, from a fresh clone

.PHONY: clean
clean: ## remove everything that was built or fetched
	rm -rf target $(VENV) $(ENGINE) $(SUITES) python/dqlite/_bin dist

$(ENGINE)/BUNDLE.json: tools/engine-bundle
	tools/engine-bundle $(ENGINE)
	@touch $@

# Debian splits venv from python3; a machine without it gets the package.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(AS_ROOT) apt-get install -y python3-venv
	$(PYTHON) -m venv $(VENV)

$(BIN)/.tools: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --group test
	@touch $@

$(BIN)/.gates: $(BIN)/.tools
	$(BIN)/pip install --quiet --group lint
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@touch $@

$(SUITES)/sqlalchemy-%: | $(BIN)/.tools
	$(BIN)/pip install --quiet --target $@ "sqlalchemy[asyncio]~=$*.0"

$(SUITES)/django: | $(BIN)/.tools
	$(BIN)/pip install --quiet --target $@/lib "Django~=5.2.0" jinja2 pyyaml tblib tzdata
	$(BIN)/pip download --quiet --no-deps --no-binary :all: --dest $@ "Django~=5.2.0"
	mkdir -p $@/source && tar -xzf $@/*.tar.gz -C $@/source --strip-components 1

$(EXECUTABLE): $(RUST_SOURCES)
	cargo build --locked --release -p dqlite-cli
	install -D -m 755 target/release/dqlite $@

$(NATIVE): $(EXECUTABLE) pyproject.toml $(BIN)/.tools
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --quiet
	@touch $@
