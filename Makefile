# The two commands that do everything: `make devnet` runs the main job, `make test` checks all.
# One build profile serves tests, devnet and image; no target passes flags to the compiler.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

SIM_SEEDS_ONE ?= 2000
SIM_SEEDS_TWO ?= 500
SIM_SEEDS_MESSAGES ?= 300
SIM_FROM ?= 0
PORT_BASE ?= 50051
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
DATA_DIR ?= $(TARGET)/devnet
BENCH_ARGS ?=
EPOCHS_ARGS ?=
IMAGE ?= skerry:local
COMPOSE := $(shell command -v docker-compose || echo docker compose)

.PHONY: help
help: ## Names the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: setup
setup: ## Names and installs the missing system packages.
	@scripts/setup.sh

.PHONY: build
build: setup ## Builds the binary, target/debug/skerry.
	cargo build --package skerry --bin skerry

.PHONY: devnet
devnet: build ## Starts a network, shows transfers in a shard and across; Ctrl-C ends it.
	@scripts/devnet-demo.sh --port-base $(PORT_BASE) --data-dir $(DATA_DIR)

.PHONY: test
test: setup ## All checks and tests, in the order of their cost.
	cargo xtask ci
	$(MAKE) --no-print-directory sim
	$(MAKE) --no-print-directory process-test
	$(MAKE) --no-print-directory python-test
	$(MAKE) --no-print-directory container-test
	@echo "make test: everything passed"

.PHONY: sim
sim: ## The vote rules searched whole; seeds of each simulated network from SIM_FROM.
	cargo xtask sim --model
	cargo xtask sim --network one --seeds $(SIM_SEEDS_ONE) --from $(SIM_FROM)
	cargo xtask sim --network two --seeds $(SIM_SEEDS_TWO) --from $(SIM_FROM)
	cargo xtask sim --network two --messages --seeds $(SIM_SEEDS_MESSAGES) --from $(SIM_FROM)

.PHONY: process-test
process-test: build ## The network of make devnet: ready, small, quiet, killed, judged.
	scripts/process-test.sh

.PHONY: python-test
python-test: build ## The Python code: encodings, accounts of views, then transfers on a devnet.
	scripts/python-test.sh

.PHONY: epochs
epochs: build ## Ten epochs of processes that join, leave and die; EPOCHS_ARGS go to the script.
	scripts/epochs.py $(EPOCHS_ARGS)

.PHONY: container-test
container-test: build ## The compose network, where a docker engine answers.
	scripts/container-test.sh

.PHONY: image
image: build ## Builds the image from the local binary; needs docker, but no registry.
	IMAGE=$(IMAGE) scripts/image.sh

.PHONY: compose-up
compose-up: image ## Starts the compose network and says how to use it.
	SKERRY_IMAGE=$(IMAGE) scripts/compose-up.sh

.PHONY: compose-down
compose-down: ## Stops the compose network and removes its volumes.
	$(COMPOSE) down -v

.PHONY: bench
bench: build ## Runs the benchmark; BENCH_ARGS go to `skerry bench`.
	$(TARGET)/debug/skerry bench $(BENCH_ARGS)
