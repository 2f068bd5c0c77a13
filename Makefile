# SPDX-License-Identifier: Apache-2.0
# The way in: `make demo`, `make test`. Everything is installed into .venv, once.

PYTHON ?= python3
# The one place that pins torch; on a GPU machine or a Jetson name your own: make TORCH='torch>=2.4' demo
TORCH ?= torch==2.13.0

# make demo BAG=path CHECKPOINT=file replays any recording; DEMO_FLAGS=--short takes the short drive.
BAG ?=
CHECKPOINT ?=
DEMO_FLAGS ?=
PYTEST_FLAGS ?=
# What speaks with rclpy: its two releases on PyPI differ in parameters, events, lifecycle and executors.
JAZZY_TESTS ?= $(addprefix test/ros/,test_compat.py test_parameters.py test_inputs.py test_lifecycle.py test_services.py \
	test_living_node.py test_live_check.py outputs)
BENCH ?= $(sort $(wildcard bench/[a-z]*.py))
BENCH_FLAGS ?=

# Nothing here may speak to a robot on the same network.
export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
export ROS_LOCALHOST_ONLY := 1

# .venv/ros.sh sets the library path of the ROS wheels; with an installed ROS it sets nothing.
RUN := . .venv/ros.sh && exec .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-jazzy lint bench venv venv-dev venv-jazzy clean

help:
	@echo "make demo    render a drive, run the node on it over ROS 2, score what it publishes: out/demo/"
	@echo "             BAG=path [CHECKPOINT=file] takes a recording instead; DEMO_FLAGS=--short a shorter drive"
	@echo "make test    all tests; PYTEST_FLAGS='test/geometry -x' some of them"
	@echo "make test-jazzy  the node's tests on ROS 2 Jazzy from PyPI, in .venv-jazzy; JAZZY_TESTS='test/ros' all of them"
	@echo "make lint    ruff and mypy"
	@echo "make bench   benchmarks, minutes each; BENCH=bench/soak.py BENCH_FLAGS='--minutes 30' one of them"
	@echo "make venv    only make .venv (the others do, where needed): PYTHON=$(PYTHON) TORCH='$(TORCH)'; venv-dev for tests"
	@echo "make clean   remove .venv, out/ and what tools left behind"

demo: venv
	@$(RUN) -m selfocc_ros.cli demo $(DEMO_FLAGS) $(if $(BAG),--bag "$(BAG)") $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)")

test: venv-dev
	@$(RUN) -m pytest $(PYTEST_FLAGS)

test-jazzy: venv-jazzy
	@. .venv-jazzy/ros.sh && exec .venv-jazzy/bin/python -m pytest $(JAZZY_TESTS) $(PYTEST_FLAGS)

lint: venv-dev
	@.venv/bin/python -m ruff check .
	@.venv/bin/python -m ruff format --check .
	@.venv/bin/python -m mypy

bench: venv
	@set -e; for script in $(BENCH); do echo "== $$script"; ($(RUN) "$$script" $(BENCH_FLAGS)); done

venv-dev: VENV_FLAGS := --dev
venv-jazzy: VENV_FLAGS := --jazzy-wheels
venv venv-dev venv-jazzy:
	@command -v "$(PYTHON)" >/dev/null || { echo "selfocc: there is no '$(PYTHON)' here: install Python 3.10 to 3.13, or run make PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" tools/preflight.py --python-only
	@"$(PYTHON)" tools/make_venv.py --torch "$(TORCH)" $(VENV_FLAGS)

clean:
	rm -rf .venv .venv-jazzy out build install log dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
