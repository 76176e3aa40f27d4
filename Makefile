# The repository's verbs; `make` alone lists them. Steps are incremental: what is up to date is not
# done again. `make PYTHON=python3.12 demo` chooses the interpreter that .venv is made with.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

ifndef PYTHON
# A version manager's shim may exist without the version behind it: ask, do not just look.
PYTHON := $(shell for name in python3.11 python3; do \
	if $$name --version >/dev/null 2>&1; then echo $$name; exit; fi; done; echo python3)
endif
RAY_PYTHON ?=
BENCH_OPTIONS ?=
MINUTES ?= 20

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
STAMPS := $(VENV)/stamps
TARGET := $(or $(CARGO_TARGET_DIR),target)
BINARY := python/whipray/_bin/whipray

# The extension module, and everything that checks it, is built for the interpreter of .venv.
export PYO3_PYTHON := $(CURDIR)/$(VENV_PYTHON)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pytest imports the installed wheels, never the sources beside it.
unexport PYTHONPATH

# Folders are listed as well: their time changes when a file in them goes away.
sources = $(shell test ! -d $(1) || find $(1) \( -name __pycache__ -o -name _bin -o -name build -o -name '*.egg-info' \) \
	-prune -o -print)
RUST_SOURCES := Cargo.toml Cargo.lock rust-toolchain.toml $(call sources,crates)
PACKAGE_SOURCES := pyproject.toml README.md LICENSE $(call sources,python/whipray)
SHIM_SOURCES := $(call sources,python/ray-shim)

say = @printf '\033[1m%s\033[0m\n' '$(1)'

.PHONY: help demo test check bench soak compat ecosystem web docs
.PHONY: prerequisites check-rust check-licences check-python check-instructions
.PHONY: test-rust test-python test-stub

help: ## list the verbs
	@echo 'Whipray: make <verb>'
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)$$/  \1\t\2/p' Makefile | expand -t 12

demo: $(STAMPS)/installed ## build and install the product into .venv, then run examples/fibonacci.py
	$(call say,running examples/fibonacci.py)
	@$(VENV_PYTHON) examples/fibonacci.py

test: check test-rust test-stub compat test-python check-instructions ## everything that CI runs

check: check-rust check-licences check-python docs ## formatting, lints, types, licences: no test runs

bench: $(STAMPS)/installed $(STAMPS)/developer ## compare the speed with Ray (RAY_PYTHON=path of an interpreter with Ray)
	@$(VENV_PYTHON) benches/compare_ray.py $(if $(RAY_PYTHON),--ray-python $(RAY_PYTHON)) $(BENCH_OPTIONS)

soak: $(STAMPS)/installed $(STAMPS)/developer ## work under random faults on four machines (MINUTES=20): nothing lost, no growth
	@$(VENV_PYTHON) benches/soak.py --minutes $(MINUTES)

compat: $(STAMPS)/installed $(STAMPS)/developer ## compare names and signatures with Ray's; deviations need a documented reason
	$(call say,names and signatures beside those of Ray)
	@$(VENV_PYTHON) tools/compare_api.py --strict

ecosystem: $(STAMPS)/installed $(STAMPS)/ecosystem ## run libraries of others on the engine: scikit-learn, dask, Daft, modin, PyTorch, XGBoost, debugpy, OTLP
	$(call say,libraries of others)
	@$(VENV_PYTHON) -m pytest --quiet tests/ecosystem

web: ## build the web dashboard
	@echo 'There is no web dashboard yet: nothing to build.'

docs: ## check that the documents point at files and names that exist
	$(call say,docs: links and code references)
	@$(PYTHON) tools/check_docs.py

# ---- prerequisites and the virtual environment --------------------------------------------------

prerequisites:
	@tools/prerequisites.sh $(PYTHON)

$(STAMPS)/environment: | prerequisites
	$(call say,creating $(VENV) with $(PYTHON))
	@$(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(STAMPS)
	@touch $@

$(STAMPS)/build: requirements-build.txt $(STAMPS)/environment
	$(call say,installing the build tools)
	@$(VENV_PYTHON) -m pip install --quiet --requirement $<
	@touch $@

$(STAMPS)/developer: requirements-dev.txt $(STAMPS)/build
	$(call say,installing the tools of developers)
	@$(VENV_PYTHON) -m pip install --quiet --requirement $<
	@touch $@

$(STAMPS)/ecosystem: tests/ecosystem/requirements.txt $(STAMPS)/developer
	$(call say,installing the libraries of others)
	@$(VENV_PYTHON) -m pip install --quiet --requirement $<
	@touch $@

# ---- the product: one release build for demo, test and bench ------------------------------------

$(BINARY): $(RUST_SOURCES) | prerequisites
	$(call say,building the whipray program (minutes at the first time))
	@cargo build --quiet --release --locked --package whipray-cli --bin whipray
	@install -D --mode=755 $(TARGET)/release/whipray $@

$(STAMPS)/wheel: $(BINARY) $(RUST_SOURCES) $(PACKAGE_SOURCES) $(STAMPS)/build
	$(call say,building the wheel of whipray)
	@rm -f dist/whipray-*.whl
	@said=$$($(VENV)/bin/maturin build --release --locked --interpreter $(VENV_PYTHON) --out dist \
		2>&1) || { echo "$$said" >&2; exit 1; }
	@touch $@

$(STAMPS)/shim-wheel: $(SHIM_SOURCES) $(STAMPS)/build
	$(call say,building the wheel of the ray shim)
	@rm -f dist/whipray_ray-*.whl
	@$(VENV_PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist python/ray-shim
	@touch $@

$(STAMPS)/installed: $(STAMPS)/wheel $(STAMPS)/shim-wheel
	$(call say,installing both wheels into $(VENV))
	@$(VENV_PYTHON) -m pip install --quiet --force-reinstall --no-deps \
		dist/whipray-*.whl dist/whipray_ray-*.whl
	@touch $@

# ---- the parts of check and test ----------------------------------------------------------------

check-rust: $(STAMPS)/environment
	$(call say,rustfmt and clippy)
	@cargo fmt --all --check
	@cargo clippy --quiet --locked --workspace --all-targets -- --deny warnings

check-licences: | prerequisites
	@if cargo deny --version >/dev/null 2>&1; then \
		printf '\033[1mcargo deny: licences, bans, sources\033[0m\n'; \
		cargo deny --log-level error check licenses bans sources; \
	else \
		echo 'cargo deny is not installed: licences are not checked (cargo install --locked cargo-deny)'; \
	fi

check-python: $(STAMPS)/developer
	$(call say,ruff and mypy)
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV_PYTHON) -m mypy

check-instructions: $(STAMPS)/installed
	$(call say,instructions of the hot path)
	@$(VENV_PYTHON) tools/check_instructions.py --python $(VENV_PYTHON)

test-rust: $(STAMPS)/environment
	$(call say,tests of the Rust workspace)
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --cargo-quiet --locked --workspace --profile ci; \
	else \
		echo 'cargo nextest is not installed: running cargo test'; \
		cargo test --quiet --locked --workspace --lib --bins --tests; \
	fi

test-stub: $(STAMPS)/installed $(STAMPS)/developer
	$(call say,stubtest of whipray._core)
	@$(VENV_PYTHON) -m mypy.stubtest --mypy-config-file pyproject.toml whipray._core

test-python: $(STAMPS)/installed $(STAMPS)/developer
	$(call say,pytest)
	@$(VENV_PYTHON) -m pytest --quiet --ignore tests/ecosystem tests
