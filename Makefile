# Everything is done in .venv, which is made on first use, with the exact versions of locks/ for its Python; nothing is
# installed again while pyproject.toml, setup.py and the locks stay the same. `make PYTHON=python3.12 demo` chooses the
# interpreter that .venv is made with.
PYTHON ?= python3
VENV := .venv
VENV14 := .venv-hydra14
BIN := $(VENV)/bin
LOCKED := 3.10 3.11 3.12 3.13
LOCK :=
comma := ,
EXTRAS := dev,docs,torch,lightning,transformers
# One version of PyTorch for all tests: its schedulers are compared with curves by hand, and none of them needs a GPU.
TORCH := torch==2.13.0
# For the tests of clusters alone.
RAY := ray==2.60.0 msgpack==1.2.4
# Which of these tests are run: those marked `brief` are what CI has of them, in some 2 minutes.
CLUSTER_TESTS ?= not long
ON_HYDRA14 := tests/test_hydra_conformance.py tests/config tests/compose tests/sources/test_stock_hydra.py
HYDRA14 := 'hydra-core>=1.4.0rc1,<1.5' 'hydra-joblib-launcher>=1.4.0rc1'
# One more than two cores have: tests spend a third of their time waiting for processes.
WORKERS ?= 3
# The order of the tests is drawn by the commit, so that what failed in CI is seen again here; at night by chance. The
# tests of a file go to one worker: what they share, such as a browser, is started once. tests/conftest.py has files with
# many slow tests first.
SEED ?= $(shell printf %d 0x$$(git rev-parse HEAD 2>/dev/null | cut -c1-7 | grep . || echo 0))
ORDER = --randomly-seed=$(SEED) --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=
# How many rounds of drawn faults there are at night, from which seed on, and the jobs of the sweep in which some crash.
FAULT_ROUNDS ?= 200
FAULT_SEED ?= $(shell date +%y%j)000
FAULT_JOBS ?= 1000
SOAK_S ?= 600
FAULTS = TRAINCTL_FAULT_SEED=$(FAULT_SEED) TRAINCTL_FAULT_ROUNDS=$(FAULT_ROUNDS) TRAINCTL_FAULT_JOBS=$(FAULT_JOBS)

# Tests start some thousand Pythons: each would compile the package anew where the caller's shell keeps them from writing
# bytecode. What is installed is compiled as it is imported, which of most packages only a small part ever is.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help venv demo lock docs reference test test-main test-all test-hydra14 test-hydra14-all test-newest test-oldest test-page test-proxy test-faults fuzz test-attack test-cluster check format format-check lint types bench bench-check soak coverage mutation dist screenshots shots chromium nginx slurm clean

help: ## say what each target does
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.10 is needed, $(PYTHON) is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)

SOURCES := pyproject.toml setup.py $(wildcard locks/*.txt)

# $(call install,environment,which lock,what): the lock holds for what is installed, and for what builds it. It
# constrains and asks for nothing: a package that only another system needs is neither in it nor missed.
define install
	@lock=locks/$$($(1)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')$(2).txt; \
	if [ -e "$$lock" ]; then export PIP_CONSTRAINT="$$lock" PIP_BUILD_CONSTRAINT="$$lock"; \
	else echo "there is no $$lock: the newest versions are installed"; set -- --upgrade --upgrade-strategy eager; fi; \
	$(1)/bin/python -m pip install --disable-pip-version-check --no-compile -q "$$@" $(3)
	@touch $@
endef

$(VENV)/.installed-demo: $(SOURCES) | $(BIN)/python
	$(call install,$(VENV),$(LOCK),-e '.[demo]')

$(VENV)/.installed-dev: $(SOURCES) | $(BIN)/python
	$(call install,$(VENV),$(LOCK),-e '.[$(EXTRAS)]' $(TORCH))
	@touch $(VENV)/.installed-demo

# Without the mark it is tried again next time.
.PHONY: ray
ray: $(VENV)/.installed-dev
	@$(BIN)/python -c 'import ray' 2>/dev/null || timeout 600 env PIP_CONSTRAINT="$$(ls locks/$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt 2>/dev/null)" \
		$(BIN)/python -m pip install --disable-pip-version-check -q $(RAY) || echo "Ray cannot be installed here: the tests on it will be skipped"

.PHONY: hydra14
hydra14: $(VENV14)/.installed

$(VENV14)/.installed: $(SOURCES)
	@test -x $(VENV14)/bin/python || $(PYTHON) -m venv $(VENV14)
	$(call install,$(VENV14),$(LOCK)-hydra14,-e '.[test]' $(HYDRA14))

# $(call resolve,which lock,requirements beside the project's own,options). uv resolves for each Python from here. What
# CUDA needs is left out: PyPI's PyTorch names exact versions of it by itself, a build for the CPU asks for none of it.
define resolve
	@for python in $(LOCKED); do \
		file=locks/$$python$(1).txt; echo $$file; \
		printf '%s\n' $(2) | .venv-lock/bin/uv pip compile -q --upgrade --no-annotate --python-version $$python \
			--custom-compile-command 'make lock' $(3) -o $$file.new pyproject.toml - || exit 1; \
		grep -vE '^(cuda-|triton|nvidia-[^m])' $$file.new > $$file; rm $$file.new; \
	done
endef

lock: ## renew the exact versions in locks/
	@test -x .venv-lock/bin/python || $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --disable-pip-version-check -q --upgrade uv
	$(call resolve,,$(TORCH),--extra $(subst $(comma), --extra ,$(EXTRAS)))
	$(call resolve,-hydra14,$(HYDRA14),--extra test)
	$(call resolve,-oldest,,--extra dev --resolution lowest-direct)

venv: $(VENV)/.installed-dev ## make .venv with everything that development needs

demo: $(VENV)/.installed-demo ## train the demo task with two kinds of normalisation and show the results
	$(BIN)/python train.py -m norm=new,batch
	$(BIN)/trainctl table outputs/train

# Each pytest is the last of its target, so that its summary is what is read last.
test: $(VENV)/.installed-dev chromium ## run the tests that take minutes: real sweeps, kills, edits and a browser among them
	$(BIN)/python -m pytest -n $(WORKERS) $(ORDER) -m 'not slow and not long' --ignore=tests/cluster $(PYTEST_ARGS)

test-main: $(VENV)/.installed-dev chromium nginx
	$(BIN)/python -m pytest -n $(WORKERS) $(ORDER) -m 'not long' --durations=20 --ignore=tests/cluster $(PYTEST_ARGS)

test-all: test-hydra14-all $(VENV)/.installed-dev chromium ## run everything, with many examples and new random kills: for a night
	@echo "seeds from $(FAULT_SEED) on, $(FAULT_ROUNDS) rounds"
	$(FAULTS) TRAINCTL_LONG_ATTACK=1 $(BIN)/python -m pytest -n $(WORKERS) --hypothesis-profile=many --timeout=3600 $(PYTEST_ARGS)

test-page: $(VENV)/.installed-dev chromium ## all tests of the page, with a browser's whole tours
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/panel tests/security

test-proxy: $(VENV)/.installed-dev chromium nginx ## the page behind a real nginx: below a path, under a name, by way of Jupyter's proxy
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/panel/test_elsewhere.py tests/security/test_front.py tests/security/test_proxy.py

# What of it takes minutes (a page under load, whole tours) is left to `make test-page`.
test-attack: $(VENV)/.installed-dev chromium ## what others may do: hostile run dirs, another user, the page's gate; LONG=1 for a minute's attack
	$(if $(LONG),TRAINCTL_LONG_ATTACK=1) $(BIN)/python -m pytest -n $(WORKERS) -m 'not long' $(PYTEST_ARGS) tests/security tests/panel/test_stored_script.py

test-cluster: ray slurm ## sweeps on a real Slurm of one and of two nodes, on a real Ray, and on mounts with and without shared locks
	$(BIN)/python -m pytest -n 1 $(ORDER) -m '$(CLUSTER_TESTS)' $(PYTEST_ARGS) tests/cluster

test-hydra14: $(VENV14)/.installed ## run Hydra's own suites, and ours of configs, on the newest pre-release of Hydra 1.4
	$(VENV14)/bin/python -m pytest -n $(WORKERS) $(ORDER) -m 'not long' $(PYTEST_ARGS) $(ON_HYDRA14) \
		tests/launch/test_policies.py::test_pending_jobs_are_immune_to_edits_of_yaml_and_code

test-hydra14-all: $(VENV14)/.installed ## run all of the above and all sweeps on the newest pre-release of Hydra 1.4
	$(VENV14)/bin/python -m pytest -n $(WORKERS) -m 'not long' $(PYTEST_ARGS) $(ON_HYDRA14) tests/launch

test-newest: ## run what CI runs on the newest version of everything, whatever the locks say
	rm -f .venv-newest/.installed-dev .venv-newest-hydra14/.installed
	$(MAKE) test-hydra14 test-main LOCK=-newest VENV=.venv-newest VENV14=.venv-newest-hydra14

# Without PyTorch, Lightning and Transformers, whose tests are then skipped.
test-oldest: ## run what CI runs on the lower bounds in pyproject.toml
	$(MAKE) test-main LOCK=-oldest VENV=.venv-oldest EXTRAS=dev TORCH=

# A round that failed is drawn again by `TRAINCTL_FAULT_SEED=its-number TRAINCTL_FAULT_ROUNDS=1 pytest tests/faults/test_random_rounds.py`.
test-faults: $(VENV)/.installed-dev ## the long form of the fault suite, with new random kills each night
	@echo "seeds from $(FAULT_SEED) on, $(FAULT_ROUNDS) rounds"
	$(FAULTS) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/faults

# One parser again from a seed: `TRAINCTL_FUZZ_SEED=seed TRAINCTL_FUZZ_CASES=4000 pytest tests/fuzz -k name`.
fuzz: $(VENV)/.installed-dev ## 100,000 nearly right inputs for the parsers of all outside input, from a new seed
	@echo "TRAINCTL_FUZZ_SEED=$(FAULT_SEED)"
	TRAINCTL_FUZZ_SEED=$(FAULT_SEED) TRAINCTL_FUZZ_CASES=4000 $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS) tests/fuzz

check: format-check lint types docs test-hydra14 test-main ## everything that CI checks: format, lint, types, documentation, all tests but the long ones

format: $(VENV)/.installed-dev ## format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

format-check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed-dev ## check the code with ruff
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev ## check the types with mypy --strict
	$(BIN)/mypy --strict

# On a machine with nothing else to do. Other tools are installed into environments of their own in .venv-bench/.
bench: $(VENV)/.installed-dev chromium ## measure all beside the alternatives, write docs/benchmarks.md: some 12 minutes; LONG=1 for 40
	$(BIN)/python benchmarks/bench.py --prepare
	$(BIN)/python benchmarks/bench.py $(if $(LONG),--long)

bench-check: $(VENV)/.installed-dev chromium ## measure again, and fail where a ratio of docs/benchmarks.json has risen by over 20 %; ONLY=step for a figure
	$(BIN)/python benchmarks/bench.py --prepare
	$(BIN)/python benchmarks/bench.py $(if $(LONG),--long) $(if $(ONLY),--only $(ONLY)) --against docs/benchmarks.json

# The same acts again by `TRAINCTL_SOAK_SEED=its-number make soak`.
soak: $(VENV)/.installed-dev chromium ## sweeps under edits, kills and a disk that fills, then the books; SOAK_S=60 for a minute
	TRAINCTL_SOAK_S=$(SOAK_S) $(BIN)/python -m pytest -s $(PYTEST_ARGS) tests/soak

# Every Python that is started measures itself: PYTHONPATH is inherited, and COVERAGE_PROCESS_START says how.
# The bar for config/ by its own tests: `make coverage COVERED="tests/config trainctl/config" MEASURED="trainctl/config/*" LEAST=95`.
COVERED ?= tests trainctl
MEASURED ?= *
LEAST ?= 0
coverage: $(VENV)/.installed-dev chromium ## branch coverage of the suite, other processes too; COVERED=tests/config for a part
	@test -e .venv-coverage/coverage || $(BIN)/python -m pip install --disable-pip-version-check -q --target .venv-coverage coverage
	@echo 'import coverage; coverage.process_startup()' > .venv-coverage/sitecustomize.py
	rm -rf .venv-coverage/data && mkdir .venv-coverage/data
	-PYTHONPATH=$(CURDIR)/.venv-coverage COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml COVERAGE_FILE=$(CURDIR)/.venv-coverage/data/coverage \
		$(BIN)/python -m pytest -n $(WORKERS) -m 'not long' --ignore=tests/cluster $(PYTEST_ARGS) $(COVERED)
	export PYTHONPATH=.venv-coverage COVERAGE_FILE=.venv-coverage/data/coverage; \
		$(BIN)/python -m coverage combine -q && $(BIN)/python -m coverage report --skip-covered --sort=miss --include='$(MEASURED)' --fail-under=$(LEAST)

# Hours for all of config/: `make mutation MUTATED="keys.py relative.py"` takes minutes, `make mutation SAMPLE=1000` some 20.
mutation: $(VENV)/.installed-dev ## share of small changes to config/ that a test notices; MUTATED="keys.py" for some files
	$(BIN)/python tests/mutation.py $(MUTATED) $(if $(SAMPLE),--sample $(SAMPLE) --seed $(FAULT_SEED))

# With `make dist PYTHONS="python3.10 python3.13"` the tutorial passes on each of these.
PYTHONS ?= $(PYTHON)
dist: $(VENV)/.installed-dev ## build wheel and sdist, install each into a fresh environment, and go through the tutorial there
	rm -rf dist build && $(BIN)/python -m build -q --no-isolation
	for python in $(PYTHONS); do $(BIN)/python tests/packaging/fresh.py $$python dist/*.whl dist/*.tar.gz || exit 1; done

docs: $(VENV)/.installed-dev ## build the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

reference: $(VENV)/.installed-dev ## write the pages of settings and commands from the code
	$(BIN)/python docs/reference.py

screenshots: $(VENV)/.installed-dev chromium ## take the pictures in docs/ anew, from a real sweep of the demo task
	$(BIN)/python docs/screenshots.py

shots: $(VENV)/.installed-dev chromium ## write every screen of the page, from a real sweep, to tests/screenshots/
	$(BIN)/python docs/screenshots.py --all tests/screenshots

# $(call debian,packages,what is done without them): Debian's packages, installed if that needs no password.
define debian
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then sudo=; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo="sudo -n"; \
	else echo "$(1) cannot be installed here: $(2)"; exit 0; fi; \
	$$sudo apt-get update -qq && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1)
endef

# The page's tests need a browser: the system's Chromium.
chromium:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	$(call debian,chromium,the page's browser tests will be skipped)

# The daemons lie in /usr/sbin; Debian starts none of them without a configuration.
slurm:
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld >/dev/null && command -v munged >/dev/null && command -v bindfs >/dev/null && exit 0; \
	{ $(call debian,slurm-wlm munge bindfs,the tests on Slurm will be skipped); } || echo "Slurm cannot be installed here: the tests on it will be skipped"

# Debian's nginx, unpacked beside the environment's programs: installed, it would be a service that listens on port 80.
nginx: $(VENV)/.installed-dev
	@if PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || [ -x $(VENV)/nginx/usr/sbin/nginx ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo="sudo -n"; fi; \
	mkdir -p $(VENV)/nginx && cd $(VENV)/nginx && for name in nginx nginx-core nginx-light; do \
		{ apt-get download -qq $$name || { $$sudo apt-get update -qq && apt-get download -qq $$name; }; } >/dev/null 2>&1 && \
			dpkg -x $${name}_*.deb . && [ -x usr/sbin/nginx ] && exit 0; done; \
	echo "no nginx found and none can be had here: the page's tests behind a proxy will be skipped"

clean: ## remove caches and build products; outputs and environments stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
