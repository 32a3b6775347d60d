# The verbs of this repository. Each target sets up what it needs: Python >= 3.11 and the package
# registries are all that is expected of the machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Most tests wait for sockets now and then, so there may be more of them than cores.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses=4
ifdef CI
  SECOND_LOOK := || .ci/second-look $$? $(BIN)/python
endif
export PYTHONUTF8 := 1

.PHONY: help setup demo test vectors check coverage format bench soak fuzz docs reference dashboards lock clean
help:
	@echo "make demo     a whole Nym network on loopback, and a download through it"
	@echo "make test     the test suite (minutes)"
	@echo "make vectors  known answers of the reference implementation (VECTORS_DIR=... for another set)"
	@echo "make check    format, lint, types, imports, tests: what CI runs"
	@echo "make coverage  what the tests reach"
	@echo "make bench    benchmarks, as ratios measured in the same run"
	@echo "make soak     long transfers under faults"
	@echo "make fuzz     the listener's parsers, fed with anything for FUZZ_SECONDS=60"
	@echo "make format   rewrite the code as the formatter wants it"
	@echo "make docs     the manual as web pages, in docs/_build/html"
	@echo "make reference  rewrite the pages of docs/reference from the code"
	@echo "make dashboards  rewrite dashboards and rules of grafana/ from their code"
	@echo "make lock     refresh the lock files from pyproject.toml"

setup: $(READY)
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/nymgate demo

test: $(READY)
	$(PYTEST) -m "not soak and not slow" --ignore=tests/interop $(SECOND_LOOK)

vectors: $(READY)
	$(BIN)/python -m pytest -m vectors -p no:randomly -q

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q --no-header tests/sphinx tests/zknym
	$(BIN)/python -m coverage report --include="mixnet/nym_sphinx/*,credentials/zknym/*" --fail-under=100
	$(PYTEST) -m "not soak" --ignore=tests/sphinx --ignore=tests/zknym $(SECOND_LOOK)

# What the tests reach in every package; the two above have a gate.
coverage: $(READY)
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -m "not soak"
	$(BIN)/python -m coverage report --skip-covered

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m bench

soak: $(READY)
	$(BIN)/python -m pytest -m soak -s -p no:randomly --timeout=1800

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

fuzz: $(READY)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} $(BIN)/python -m pytest tests/fuzz -q --timeout=0 -p no:randomly

reference: $(READY)
	$(BIN)/python -m nymgate.reference docs/reference

dashboards: $(READY)
	$(BIN)/python -m grafana.build

# Three files: everything, what a running proxy needs, and what builds it (the last two for images). Both are cut out
# of the first: same versions, same hashes.
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-annotate --no-header --quiet
lock: $(READY)
	$(COMPILE) pyproject.toml --group dev -o requirements.lock
	$(COMPILE) pyproject.toml --constraints requirements.lock -o requirements-runtime.lock
	echo "hatchling" | $(COMPILE) - --constraints requirements.lock -o requirements-build.lock

clean:
	rm -rf $(VENV) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
