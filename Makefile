# Two commands: `make demo` and `make test`. Both set up all they need; python3 (3.11 or newer, with venv and pip) is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
JOBS ?= 6  # of the tests, which wait twice as long as they compute; 0: in one process, for --pdb

# Some images set it to stay small, and each of the many processes that the tests start would then compile all again.
unexport PYTHONDONTWRITEBYTECODE
# NumPy's threads for linear algebra, which nothing here uses, cost each of those processes a seventh of its start.
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev console docs test demo screenshots bench lint gen new-connector changes peers clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

$(VENV)/.runtime: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here, expected Python 3.11 or newer: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) tools/environment.py $(VENV) '.[all]'
	@touch $@

$(VENV)/.dev: pyproject.toml  # has all of the above, too, found in one go
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here, expected Python 3.11 or newer: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) tools/environment.py $(VENV) '.[dev]'
	@touch $(VENV)/.runtime $@

setup: $(VENV)/.runtime  ## create the environment and install Millstream with all connectors

setup-dev: $(VENV)/.dev  ## the same, with the test tools

peers: $(VENV)/.dev  ## install the foreign programs that integration tests talk to (npm, Debian)
	@$(BIN)/python tools/peers.py install

test: $(VENV)/.dev  ## run every check and test (ARGS="-k modbus" narrows, JOBS=0 is one process)
	@$(BIN)/python tools/peers.py list
	@$(BIN)/python tools/run_tests.py -n $(strip $(JOBS)) --dist worksteal $(ARGS)

console: $(VENV)/.runtime  ## build the console that the hub serves, when it is out of date (needs npm)
	@$(BIN)/python tools/console.py

docs: $(VENV)/.runtime  ## build the documentation site that the hub serves under /docs/
	@$(BIN)/python tools/docs_site.py

demo: $(VENV)/.runtime  ## a plant, an edge and a hub on this machine, with a cut uplink; ARGS="--for 30s --cut 8s --json"
	@$(BIN)/python tools/console.py --if-possible
	@$(BIN)/python tools/docs_site.py --if-possible
	@$(BIN)/millstream demo $(ARGS)

screenshots: $(VENV)/.dev  ## draw the pictures of the README and docs from live demo data (needs chromium)
	@$(BIN)/python tools/console.py
	@$(BIN)/python tools/pictures.py $(ARGS)

bench: $(VENV)/.dev  ## list the benchmarks, or run one: ARGS="ingest --json"
	@$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.dev  ## format, style, types, layers
	@$(BIN)/ruff check src tests tools bench examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports

gen: $(VENV)/.dev  ## write the generated pages of docs/reference again
	@$(BIN)/python tools/docs_gen.py

new-connector:  ## begin a connector of your own, with tests that pass: NAME=my_scale
	@$(PYTHON) tools/scaffold.py "$(NAME)"

changes:  ## print what the next release will hold, from changes/*.md
	@$(PYTHON) tools/changelog.py

clean:  ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
