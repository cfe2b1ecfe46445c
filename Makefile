# Everything is done in .venv, which is made on first use; nothing is installed again while pyproject.toml and setup.py
# stay the same. `make PYTHON=python3.12 demo` chooses the interpreter that .venv is made with.
PYTHON ?= python3
VENV := .venv
VENV14 := .venv-hydra14
BIN := $(VENV)/bin
WORKERS ?= 2
PYTEST_ARGS ?=
# How many rounds of drawn faults there are at night, from which seed on, and the jobs of the sweep in which some crash.
FAULT_ROUNDS ?= 200
FAULT_SEED ?= $(shell date +%y%j)000
FAULT_JOBS ?= 1000

.NOTPARALLEL:
.PHONY: help venv demo test test-main test-hydra14 test-page test-faults check format format-check lint types bench screenshots chromium clean

help: ## say what each target does
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed, $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[demo]'
	@touch $@

# One version of PyTorch for all tests: its schedulers are compared with curves by hand, and none of them needs a GPU.
$(VENV)/.installed-dev: pyproject.toml setup.py | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[dev,torch,lightning,transformers]' 'torch==2.13.0'
	@touch $@ $(VENV)/.installed-demo

$(VENV14)/.installed: pyproject.toml setup.py Makefile
	@test -x $(VENV14)/bin/python || $(PYTHON) -m venv $(VENV14)
	$(VENV14)/bin/python -m pip install --disable-pip-version-check -q -e . \
		'hydra-core>=1.4.0rc1,<1.5' 'hydra-joblib-launcher>=1.4.0rc1' hypothesis pytest pytest-randomly pytest-timeout pytest-xdist
	@touch $@

venv: $(VENV)/.installed-dev ## make .venv with everything that development needs

demo: $(VENV)/.installed-demo ## train the demo task with two kinds of normalisation and show the results
	$(BIN)/python train.py -m norm=new,batch
	$(BIN)/trainctl table outputs/train

test: test-hydra14 test-main ## run the whole test suite, on Hydra 1.4 as far as it concerns Hydra

test-main: $(VENV)/.installed-dev chromium
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not long' $(PYTEST_ARGS)

test-page: $(VENV)/.installed-dev chromium ## all tests of the page, with a browser's whole tours
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/panel tests/security

test-hydra14: $(VENV14)/.installed ## run Hydra's own suites on the newest pre-release of Hydra 1.4
	$(VENV14)/bin/python -m pytest -n $(WORKERS) tests/test_hydra_conformance.py \
		tests/launch/test_policies.py::test_pending_jobs_are_immune_to_edits_of_yaml_and_code

# A round that failed is drawn again by `TRAINCTL_FAULT_SEED=its-number TRAINCTL_FAULT_ROUNDS=1 pytest tests/faults/test_random_rounds.py`.
test-faults: $(VENV)/.installed-dev ## the long form of the fault suite, with new random kills each night
	@echo "seeds from $(FAULT_SEED) on, $(FAULT_ROUNDS) rounds"
	TRAINCTL_FAULT_SEED=$(FAULT_SEED) TRAINCTL_FAULT_ROUNDS=$(FAULT_ROUNDS) TRAINCTL_FAULT_JOBS=$(FAULT_JOBS) \
		$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/faults

check: format-check lint types test ## everything that CI checks: format, lint, types, tests

format: $(VENV)/.installed-dev ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev ## check the code with ruff
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev ## check the types with mypy --strict
	$(BIN)/mypy --strict

bench: $(VENV)/.installed-dev ## measure what a step and a job cost, beside the alternatives
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/launch.py
	$(BIN)/python benchmarks/page.py

screenshots: $(VENV)/.installed-dev chromium ## take the pictures in docs/ anew, from a real sweep of the demo task
	$(BIN)/python docs/screenshots.py

# The page's tests need a browser: the system's Chromium, installed if that can be done without asking for a password.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then sudo=; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "no Chromium found and none can be installed here: the page's browser tests will be skipped"; exit 0; fi; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium

clean: ## remove caches and build products; outputs and environments stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
