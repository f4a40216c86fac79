# One command each; every target makes .venv and installs what it needs on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One set of versions that passed everything; `make CONSTRAINTS= ...` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS))
# Real files: the environment is rebuilt when pyproject.toml changes.
RUN_READY  := $(VENV)/.installed
TEST_READY := $(VENV)/.installed-test

.PHONY: quickstart test test-latest constraints check format wheel clean

# One thread: the tensors are tiny, and threads that wait for each other crawl on cores that are shared.
quickstart: $(RUN_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m rlfr_mm.train --config configs/rl/quickstart.yaml --overwrite

test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# The next release that breaks us is met here first: a new environment, the newest versions within the bounds.
test-latest:
	rm -rf .venv-latest
	$(MAKE) VENV=.venv-latest CONSTRAINTS= test

# Only versions that passed the tests are written down.
constraints: test-latest
	.venv-latest/bin/python -m pip freeze --exclude-editable > constraints.txt

check: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rlfr_mm
	$(BIN)/mypy tasks eval

format: $(TEST_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The wheel is tried in an environment of its own, which borrows the dependencies but not the checkout.
wheel: $(TEST_READY)
	rm -rf build dist && $(BIN)/python -m build --wheel --outdir dist .
	$(BIN)/python -m venv dist/venv
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$(dist/venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/dependencies.pth
	dist/venv/bin/python -m pip install --quiet --no-deps dist/*.whl
	cd dist && venv/bin/python ../.ci/try_wheel.py

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

$(RUN_READY): $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) -e .
	touch $@

$(TEST_READY): $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) -e ".[test]"
	touch $@ $(RUN_READY)
