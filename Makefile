# Killdeer. `make help` prints what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

# What the machine itself must have: to run, to test, to build.
APT_RUN := python3-venv libbpf1 util-linux procps
APT_TEST := clang llvm libbpf-dev systemd openssl curl libcap2-bin qemu-system-x86 qemu-utils e2fsprogs debootstrap systemd-container dbus-daemon cpio python3-bpfcc postgresql iproute2 prometheus chromium
APT_BENCH := nats-server bpftrace
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -n)

.PHONY: help setup demo test check deb bench generate lock clean

help: ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## what running needs: packages of the distribution where they are missing, and a virtual environment

$(STAMP): pyproject.toml requirements.lock
	@$(call install,$(APT_RUN))
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup-test
setup-test: $(STAMP)
	@$(call install,$(APT_TEST))

demo: $(STAMP) ## the main job for real, on this machine, in under a minute
	@$(BIN)/python examples/demo.py

# The simulation has a processor to itself while the other tiers wait for leases, restarts and guests.
SIMULATION := build/simulation.log
test: setup-test check ## every tier there is
	@mkdir -p build; nice $(BIN)/pytest -s tests/simulation > $(SIMULATION) 2>&1 & simulation=$$!; \
	$(BIN)/pytest tests/unit tests/contract tests/integration tests/kernel tests/drift tests/kernels tests/packages \
	    tests/hosts; failed=$$?; \
	wait $$simulation || failed=$$?; cat $(SIMULATION); exit $$failed

check: $(STAMP) ## style, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

deb: $(STAMP) ## killdeer-agent and killdeer-coordinator for Debian 12, into build/
	@$(BIN)/python -m deploy.debian.build

SEEDS ?= 2000
.PHONY: simulate
simulate: setup-test ## SEEDS histories of both cores in a simulated world, and a table of what they reached
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS)

.PHONY: simulate-bugs
simulate-bugs: setup-test ## the first history that finds each deliberate bug, where the known one no longer does
	@$(BIN)/python -m tests.simulation.bugs_hunt

bench: setup-test ## measures, as ratios against a reference in the same run
	@$(call install,$(APT_BENCH))
	@$(BIN)/python tests/bench/run.py

generate: setup-test ## protobuf code and the BPF object, from their sources
	@$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto proto/killdeer/v1/*.proto
	@$(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=proto \
	    --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:proto \
	    proto/killdeer/v1/agent.proto proto/killdeer/v1/join.proto proto/killdeer/v1/operator.proto
	@$(BIN)/python agent/bpf/build.py

lock: $(STAMP) ## pin what is installed: versions and hashes
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url \
	    --no-emit-trusted-host --no-emit-find-links --no-header --all-extras --output-file requirements.lock pyproject.toml

clean: ## what was built here
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# $(call install,PACKAGES): apt packages, only those that are missing; says so where it may not.
define install
missing=""; for package in $(1); do dpkg-query -W -f='$${Status}' $$package 2>/dev/null \
  | grep -q 'ok installed' || missing="$$missing $$package"; done; \
if [ -n "$$missing" ]; then echo "installing:$$missing"; \
  { $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends $$missing >/dev/null; } \
  || echo "could not install:$$missing (as root: apt install$$missing)"; fi
endef
