# `make demo` and `make test` install what they need (scripts/setup.sh, no root) and are quick the second time.
#   make demo [FRAMES=folder] [MODEL=file]   plays real driving frames into the node over ROS 2
#   make test                                everything that CI runs
#   make test-arm                            the engine's tests for 64-bit ARM, emulated (scripts/setup-arm.sh)
#   make test-vulkan                         training on a GPU beside the CPU; builds everything once more, wants a Vulkan driver
#   make bench-peers [ARGUMENTS=...]         times the engine beside ONNX Runtime and OpenVINO, in turn
#   make bench-scaling                       the same over input size and width, as docs/scaling.png
#   make bench-training [ARGUMENTS=...]      times training beside PyTorch on the CPU, in turn
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

export CARGO_TARGET_DIR ?= $(CURDIR)/target
FRAMES ?= demo/frames
MODEL ?= models/demo.safetensors

env := . scripts/env.sh
# The same features and the same profile everywhere: r2r and burn take minutes to build, once is enough.
detector := --release -p onebit_detector --features ros
distill := --release -p onebit_distill
# Cores to emulate: plain NEON, dot products, matrix products.
arm_cores := cortex-a72 cortex-a76 max
# cargo-nextest if it is there, else cargo's own runner.
runner = $(shell command -v cargo-nextest > /dev/null && echo 'nextest run' || echo test)

.PHONY: demo test test-arm test-vulkan setup build lint unit-tests ros-tests colcon-tests bench-peers bench-scaling bench-training
demo: build
	@$(env); "$$ONEBIT_ROS_PYTHON" demo/play.py --binary $(CARGO_TARGET_DIR)/release/detector_node \
	  --frames '$(FRAMES)' --model '$(MODEL)'

test: lint unit-tests ros-tests colcon-tests

setup:
	@scripts/setup.sh

build:
	@scripts/setup.sh ros
	@echo 'build: the node and the command line (minutes the first time)'
	@$(env); cargo build $(detector) --bins

lint: setup
	cargo fmt --all --check
	$(env); cargo clippy $(detector) --all-targets -- -D warnings
	$(env); cargo clippy $(distill) --all-targets -- -D warnings
	$(env); cargo check $(distill) --features vulkan --bins --test vulkan

unit-tests: setup
	$(env); cargo $(runner) $(detector)
	$(env); cargo $(runner) $(distill)
	$(env); cargo test $(detector) --doc

ros-tests: setup build
	$(env); ONEBIT_NODE=$(CARGO_TARGET_DIR)/release/detector_node "$$ONEBIT_ROS_PYTHON" -m pytest -q -ra tests/ros

colcon-tests: setup build
	$(env); tests/ros/colcon.sh

# Without ROS, whose libraries are not for ARM, and apart from `test`, because everything is built once more.
test-arm:
	@scripts/setup-arm.sh
	@. "$${ONEBIT_CACHE:-$$HOME/.cache/onebit_detector}/arm/env.sh"; \
	tests=(cargo test --release -p onebit_detector --lib --target aarch64-unknown-linux-gnu); \
	for core in $(arm_cores); do \
	  echo "test-arm: $$core"; \
	  ARM_CPU=$$core "$${tests[@]}" this_core_has_its_kernels -- --nocapture; \
	  ARM_CPU=$$core "$${tests[@]}" engine; \
	done

test-vulkan: setup
	$(env); cargo $(runner) $(distill) --features vulkan --test vulkan

peers = $(env); "$$ONEBIT_CACHE/bench/bin/python" benches/peers/$(1) \
  --onebit $(CARGO_TARGET_DIR)/release/onebit --folder $(CARGO_TARGET_DIR)/peers

bench-peers: build
	@scripts/setup.sh bench
	@$(call peers,run.py) $(ARGUMENTS)

bench-scaling: build
	@scripts/setup.sh bench
	@$(call peers,scaling.py) --out docs/scaling.png $(ARGUMENTS)

bench-training: build
	@scripts/setup.sh torch
	@$(env); cargo build $(distill) --bins
	@$(env); "$$ONEBIT_CACHE/torch/bin/python" benches/training/run.py --onebit $(CARGO_TARGET_DIR)/release/onebit \
	  --distill $(CARGO_TARGET_DIR)/release/distill --folder $(CARGO_TARGET_DIR)/training $(ARGUMENTS)
