# Two commands set everything up on a machine with Python >= 3.11: `make ask` and `make test`.
#
#   make ask                 install the base into .venv, ask a worked example
#   make ask Q="7 * 8 + 1?"  ask yours
#   make test                install what the tests need, run them
#   make check               ruff, types, promise tests
#   make lint                let ruff mend what it can
#   make docs                rewrite the generated parts of the documentation
#   make results             measure nano on its held-out problems, and write the README's table
#   make wheel               build the wheel, install it in an empty environment, ask there
#   make peers               compare with TRL, verl, PEFT, reasoning-gym, run on two Ray nodes, open reports in Chromium,
#                            check other processors' kernels under qemu (minutes)
#   make parity              build llama.cpp and compare with it (minutes)

Q ?= What is 17 * 23?
export Q

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# Editable: Python files are live; only these call for a new install.
BUILT_FROM := pyproject.toml constraints.txt CMakeLists.txt $(wildcard native/*)
EXTRA = $(BIN)/python -c 'import sys, tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$(1)"]))'

.PHONY: ask test check lint docs results wheel peers parity clean

ask: $(VENV)/.base
	@$(BIN)/ponder ask "$$Q"

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest tests/promises

lint: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py

results: $(VENV)/.dev
	@mkdir -p benchmarks/results
	$(BIN)/ponder eval --json > benchmarks/results/.nano.json && mv benchmarks/results/.nano.json benchmarks/results/nano.json
	$(BIN)/python docs/generate.py

# Away from the checkout and its folders: what a user of the wheel has, and no torch.
wheel: $(VENV)/.python
	rm -rf dist && mkdir dist
	$(BIN)/python -m pip wheel -q --no-deps -w dist .
	$(PYTHON) -m venv --clear dist/empty
	dist/empty/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt dist/ponder-*.whl
	cd / && env -i HOME="$(CURDIR)/dist" "$(CURDIR)/dist/empty/bin/ponder" ask "$$Q"
	@! test -e dist/empty/lib/python3*/site-packages/torch || { echo "the wheel brought torch" >&2; exit 1; }

PEER_TESTS = tests/peers tests/train/test_lora.py tests/train/test_exports.py tests/train/test_cluster.py tests/runs \
    tests/model/test_native_check.py
peers: $(VENV)/.peers
	$(BIN)/python -m pytest -m slow tests/train/test_sharded.py tests/train/test_lora_runs.py
	$(VENV)/peers/bin/python -m pytest -m slow $(PEER_TESTS) --deselect tests/train/test_exports.py::test_verifiers_scores_with_it
	$(VENV)/verifiers/bin/python -m pytest -m slow tests/train/test_exports.py::test_verifiers_scores_with_it

parity: $(VENV)/.parity
	$(BIN)/python -m pytest -m slow tests/parity

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Ponder needs Python 3.11 or newer, and none was found on PATH. Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: $(VENV)/.python $(BUILT_FROM)
	@echo "Installing Ponder (about a minute the first time)"
	@$(PIP) -e .
	@touch $@

# torch first and alone, so that nothing else chooses its build.
$(VENV)/.dev: $(VENV)/.base
	@echo "Installing what the tests need (torch, transformers, pytest, …)"
	@$(PIP) torch==2.13.0
	@$(call EXTRA,dev) > $(VENV)/dev.txt && $(PIP) -r $(VENV)/dev.txt
	@touch $@

# An environment over the test environment, seen through a path file, so that nothing in it changes: $(call OVER,name,requirements).
define OVER
	@$(BIN)/python -m venv --clear $(VENV)/$(1)
	@$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' > "$$($(VENV)/$(1)/bin/python -c 'import site; print(site.getsitepackages()[0])')/tests.pth"
	@$(VENV)/$(1)/bin/python -m pip install -q --disable-pip-version-check --no-deps -r $(2)
endef

$(VENV)/.peers: $(VENV)/.dev tests/peers/requirements.txt tests/peers/verifiers.txt
	@echo "Installing TRL, verl, Ray and the like (minutes)"
	$(call OVER,peers,tests/peers/requirements.txt)
	$(call OVER,verifiers,tests/peers/verifiers.txt)
	@touch $@

$(VENV)/.parity: $(VENV)/.dev
	@echo "Building llama.cpp (minutes)"
	@$(call EXTRA,parity) > $(VENV)/parity.txt && CMAKE_ARGS="-DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAVA_BUILD=OFF" $(PIP) -r $(VENV)/parity.txt
	@touch $@
