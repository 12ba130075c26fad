# Weir's two commands are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.tools/node/bin:$(CURDIR)/.tools/go/bin:$(HOME)/.cargo/bin:$(PATH)
export CARGO_TERM_PROGRESS_WHEN ?= auto

# Each step says what it does, how long it usually takes on 2 cores, and how long it took.
define step
@printf '\033[1m==> %s\033[0m (usually %s)\n' '$(1)' '$(2)'
@start=$$SECONDS; ( $(3) ) || { status=$$?; printf '\033[31m==> %s failed after %s s\033[0m\n' '$(1)' "$$((SECONDS - start))"; exit $$status; }; printf '    %s: %s s\n' '$(1)' "$$((SECONDS - start))"
endef

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: run
run: ## Install what is missing, build, and start Weir on this machine (first time ~14 min, then seconds)
	$(call step,setup,seconds; 2 min from nothing,deploy/setup.sh run)
	$(call step,web page,15 s; 1 min from nothing,$(MAKE) -s ui)
	$(call step,build,seconds; 13 min from nothing,cargo build --locked --workspace --bins)
	@exec target/debug/weir up $(ARGS)

.PHONY: demo
demo: ## Start services in network namespaces that make traffic worth looking at (root)
	@exec target/debug/weir demo $(ARGS)

.PHONY: setup
setup: ## Install what building and testing need
	@deploy/setup.sh test

.PHONY: build
build: ## Compile everything (debug profile: what `make run` starts)
	@cargo build --locked --workspace

.PHONY: ui
ui: ui/dist/index.html ## Build the web page into ui/dist

# npm ci leaves its own mark; the page is rebuilt only when a source of it is newer.
ui/node_modules/.package-lock.json: ui/package-lock.json
	@cd ui && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json
ui/dist/index.html: ui/node_modules/.package-lock.json $(shell find ui/src ui/index.html ui/public ui/vite.config.ts -type f 2>/dev/null)
	@cd ui && npm run --silent build && touch dist/index.html

.PHONY: test
test: ## Install what tests need and run everything that CI runs (~35 min from nothing, 4 min when warm)
	$(call step,setup,seconds; 13 min from nothing,deploy/setup.sh test)
	$(call step,web page: lint and unit tests,1 min,$(MAKE) -s ui-check)
	$(call step,format,2 s,cargo fmt --all --check)
	$(call step,build without the BPF toolchain,seconds; 13 min from nothing,cargo build --locked --workspace --bins)
	$(call step,lint,seconds; 3 min from nothing,$(MAKE) -s lint)
	$(call step,licences and advisories,5 s; 3 min from nothing,$(MAKE) -s deny)
	$(call step,BPF object is what its source makes,20 s; 3 min from nothing,$(MAKE) -s bpf)
	$(call step,Rust tests: unit kernel and whole way,1 min; 3 min from nothing,$(MAKE) -s rust-test)
	$(call step,browser against the real thing,2 min,$(MAKE) -s e2e)
	@printf '\033[1m==> all passed\033[0m\n'

.PHONY: rust-test
rust-test: # needs root: real probes, real namespaces
	@[ "$$(id -u)" = 0 ] || { echo "the kernel tests need root: sudo make test (or 'make unit' without root)" >&2; exit 1; }
	@WEIR_BIN=$(CURDIR)/target/debug/weir cargo test --locked --workspace --no-fail-fast

.PHONY: ui-check
ui-check: ui
	@cd ui && npm run --silent format:check && npm run --silent lint && npm run --silent typecheck && npm run --silent test

.PHONY: unit
unit: ## Rust and UI unit tests; no root needed
	@cargo test --locked --workspace --lib --bins
	@cd ui && npm run --silent test

.PHONY: kernel
kernel: ## The probe's tests on the real kernel (root)
	@cargo test --locked --workspace --test kernel

.PHONY: e2e
e2e: ui ## A real browser against the real binary with real traffic (root)
	@cargo build --locked --workspace --bins
	@deploy/e2e/browser.sh

.PHONY: lint
lint: ## clippy with warnings denied; the web page's types and lints are in ui-check
	@cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: fmt
fmt: ## Format everything
	@cargo fmt --all
	@cd ui && npm run --silent format

.PHONY: deny
deny: ## Licences, sources and advisories of what we depend on
	@deploy/deny.sh

.PHONY: bpf
bpf: ## Rebuild the BPF object, fail where its bytes differ from the committed one, and print the verifier's work
	@probe/bpf/build.sh --check
	@cargo build --locked --quiet --workspace --bin weir-probe
	@probe/bpf/complexity.sh target/debug/weir-probe

.PHONY: docs
docs: ## Regenerate docs/tables.md from the schema
	@cargo build --locked --quiet --workspace --example tables_md
	@target/debug/examples/tables_md > docs/tables.md

.PHONY: proto
proto: ## Make query/api/proto/generated anew after a change to a .proto file (a minute, once)
	@CARGO_TARGET_DIR=$(CURDIR)/target/proto cargo run --locked --quiet --manifest-path query/api/proto/generate/Cargo.toml

.PHONY: fuzz
fuzz: ## Fuzz a parser of outside bytes: T=packets, tls, datagrams, dns or exported [SECONDS=60] (building takes ~4 min, once)
	@deploy/fuzz.sh "$(T)" $(SECONDS)

.PHONY: conformance
conformance: ## Score connections, TLS, QUIC, DTLS and DNS against captures with known answers, where ../shared/pcaps is present
	@cargo build --locked --quiet --workspace --example conformance
	@target/debug/examples/conformance ../shared/pcaps

.PHONY: stitch
stitch: ## Score the inference of who asked whom against simple rules, where ../shared/stitch is present
	@if [ -d ../shared/stitch ]; then cargo build --locked --quiet --workspace --bin weir && deploy/stitch.sh target/debug/weir ../shared/stitch; \
	else echo "no ../shared/stitch here, so nothing to score; 'weir bench stitch FILE' takes exchanges of your own"; fi

.PHONY: demo-traces
demo-traces: ## Share of the demo's requests whose whole trace is right, by the demo's own truth [RATE=50] [FOR=25s] (root)
	@cargo build --locked --quiet --workspace --bins
	@WEIR_BIN=$(CURDIR)/target/debug/weir WEIR_DEMO_RATE=$(or $(RATE),50) WEIR_DEMO_FOR=$(or $(FOR),25s) \
		cargo test --locked --quiet --workspace --test demo -- --nocapture the_demos_requests_are

.PHONY: jaeger
jaeger: ## A real Jaeger behind Weir (export, with a kill -9) and in front of it (as its storage): all there, and alike? (builds it once, ~5 min)
	@deploy/jaeger.sh
	@cargo build --locked --quiet --workspace --bins
	@WEIR_BIN=$(CURDIR)/target/debug/weir cargo bench --locked --quiet --profile dev --workspace --bench jaeger

.PHONY: bench
# The allocator is set as `weir up` sets its own.
bench: ## Every benchmark of a part, each with its rival's figure (~4 min)
	@MIMALLOC_PURGE_DELAY=0 MIMALLOC_ALLOW_THP=0 cargo bench --locked --profile dev --workspace --bench encode --bench ingest --bench traces --bench import --bench jaeger_api

.PHONY: bench-query
bench-query: ## Fourteen questions over FLOWS=10000000 beside DuckDB and ClickHouse; DIR= keeps the rows (release build: ~40 min, once)
	@deploy/setup.sh rivals
	@cargo build --locked --release --bin weir
	@target/release/weir --log warn bench query --python .tools/rivals/bin/python --flows $(or $(FLOWS),10000000) \
		$(if $(DIR),--dir $(DIR) --keep,--dir target/bench-query) $(ARGS)

.PHONY: hooks
hooks: ## Judge the candidate hooks on this kernel: ns an event, throughput with and without (root, ~10 min; ROUNDS=0: 2 min)
	@deploy/setup.sh bench
	@probe/bpf/build.sh --candidates $(CURDIR)/target/candidates.bpf.o
	@CANDIDATES=$(CURDIR)/target/candidates.bpf.o cargo bench --locked --profile dev --workspace --bench hooks

.PHONY: cost
cost: ## What the probe costs at each level, against targets and a per-packet program (root, ~15 min; PART=events: 1 min)
	@deploy/setup.sh bench
	@probe/bpf/build.sh --candidates $(CURDIR)/target/candidates.bpf.o
	@CANDIDATES=$(CURDIR)/target/candidates.bpf.o cargo bench --locked --profile dev --workspace --bench cost

.PHONY: soak
soak: ## Churn for MINUTES=30: every connection in flows once, memory flat, losses counted; then 100 kills (root)
	@cargo build --locked --workspace --bins
	@cargo bench --locked --profile dev --workspace --bench soak
	@$(MAKE) -s kills

.PHONY: kills
kills: ## KILLS=100 kill -9s of collector and probe under load: no record lost, none doubled; SEED=17 plays a run again (root)
	@cargo build --locked --workspace --bins
	@WEIR_BIN=$(CURDIR)/target/debug/weir WEIR_KILLS=$(or $(KILLS),100) $(if $(SEED),WEIR_SEED=$(SEED)) \
		cargo test --locked --workspace --test crash -- --nocapture
