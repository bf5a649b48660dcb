# What can be done with a checkout. Everything made lies in .cache; `make clean` removes it.

SHELL := /bin/bash
PYTHON := .cache/venv/bin/python
VMTEST := $(PYTHON) -m tests.vmtest
C_FILES := $(wildcard bpf/*.c bpf/*.h tests/bench/*.c)
# The scenarios leave nothing in /hangup, which is read-only in a guest.
# After so many failures what it says is read sooner than that all others fail, each at the end of its patience.
SCENARIOS := python3 -m pytest -p no:cacheprovider --maxfail=10 tests/scenarios

# The Debian that `make test-vagrant` brings up: bookworm, trixie, or all, one after the other.
SUITE := bookworm
# How long `make fuzz` goes on.
FUZZ_SECONDS := 60

# Which of tests/scenarios and tests/vm it runs there; none named: all.
VAGRANT_TESTS :=

# One command's output at a time, and one guest at a time.
.NOTPARALLEL:
.PHONY: help setup format lint types unit fuzz scenarios test test-kernels demo bench deb test-pages test-package test-vagrant \
    clean

help: ## say what there is to make (this)
	@awk -F ': [^#]*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the tests need: QEMU and friends (as root), and Python tools into .cache/venv
	@tests/setup

format: setup ## write Python and C the way `make lint` wants them
	$(PYTHON) -m ruff format .
	.cache/venv/bin/clang-format -i $(C_FILES)

lint: setup ## ruff on the Python, clang-format on the C
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	.cache/venv/bin/clang-format --dry-run --Werror $(C_FILES)

types: setup ## mypy, strict
	$(PYTHON) -m mypy

unit: setup ## everything after the source: no privileges, no guest
	$(PYTHON) -m pytest -q

fuzz: setup ## whatever a fuzzer comes upon, to the reader of captures and trace; FUZZ_SECONDS=60
	@$(PYTHON) -c 'import atheris' 2>/dev/null || $(PYTHON) -m pip install --quiet --disable-pip-version-check atheris
	@mkdir -p .cache/fuzz-capture
	$(PYTHON) -m tests.fuzz -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=512 \
	    -artifact_prefix=.cache/fuzz-capture- .cache/fuzz-capture tests/data/fuzz-capture

scenarios: setup ## real servers on the default kernel, in a guest
	$(VMTEST) --servers --time-limit 3600 -- $(SCENARIOS)

test: lint types unit scenarios ## lint, types, unit and scenarios: what has to pass before a commit goes out

test-kernels: setup ## the scenarios with 1,000 requests each, and the storm, on every kernel of tests/kernels.toml
	$(VMTEST) --servers --kernel all --time-limit 5400 -- env SCENARIO_REQUESTS=1000 RECORDER_CONNECTIONS=20000 $(SCENARIOS)

demo: setup ## real requests of real servers fail and are explained
	$(VMTEST) -- python3 -m tests.scenarios.demo

bench: setup ## measure what it costs, beside other tracers, and write docs/performance.md: takes hours without KVM
	$(PYTHON) -m tests.bench all

deb: setup ## build dist/hangup_VERSION_all.deb, in a root of its own
	@debian/build-deb

test-pages: ## the page of a report in a headless browser: light, dark, narrow, wide, by keyboard, and what axe says
	@tests/setup browser
	$(PYTHON) -m pytest -q -p no:cacheprovider tests/browser

test-package: setup ## build the package and the wheel, lintian, install and purge them on Debian 12 and 13
	$(PYTHON) -m pytest -q -p no:cacheprovider tests/package

test-vagrant: setup deb ## the package as a service in a real machine, from nothing; SUITE=bookworm|trixie|all
	$(PYTHON) -m tests.vagrant test $(SUITE) $(VAGRANT_TESTS)

clean: ## remove everything that was made, the guest's root and the kernels too
	rm -rf --one-file-system .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info build dist
