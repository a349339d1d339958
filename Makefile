# `make demo` solves the example and `make test` runs the tests; each installs what it needs into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A stamp file for each kind of installation, so that nothing is installed twice.
DEMO = $(VENV)/.installed
TEST = $(VENV)/.installed-test
DOCS = $(VENV)/.installed-docs

.PHONY: demo check test test-long test-pages lint docs wheel release-check test-latest test-latest-quick example weights clean

demo: $(DEMO)
	$(BIN)/jaxstruc solve examples/Ag68_simulated.gr --element Ag -o demo-out

# Tests that compile little, quick enough for every change. Compiled programs are cached in .jax_cache.
QUICK = tests/clusters tests/io tests/report tests/test_files.py tests/test_package.py tests/test_code_style.py \
	tests/test_parameters.py tests/test_result.py tests/cli/test_main.py tests/pdf/test_posterior.py \
	tests/pdf/test_target.py tests/network/cvae/test_training_range.py
check: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(QUICK)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

# Tests that `test` leaves out: small runs of whole experiments.
test-long: $(TEST)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site in build/docs. All tutorials run, and a warning is an error.
docs: $(DOCS)
	$(BIN)/python -m sphinx -b html -W --keep-going -j 2 -q -c docs . build/docs
	@echo "Open build/docs/index.html in a browser."

# Builds dist/*.whl, installs it into an empty environment and solves the example there, outside the repository.
wheel: $(DEMO)
	sh tools/try_wheel.sh $(BIN)/python

# All that a release needs: source archive and wheel with checked metadata, the wheel in an empty environment, the site.
release-check: $(DOCS)
	sh tools/try_wheel.sh $(BIN)/python --release
	$(MAKE) docs

# Tests with the newest Python and the newest jax that can be installed; see tools/latest.sh.
test-latest:
	sh tools/latest.sh
test-latest-quick:
	sh tools/latest.sh tests/scattering/test_debye.py tests/network/cvae/test_trilateration.py tests/network/cvae/test_model.py

example: $(DEMO)
	$(BIN)/python examples/make_example.py

# Trains the shipped weights again (half an hour on 2 cores, and an hour and a half on one) and copies them into the package.
weights: $(DEMO)
	$(BIN)/jaxstruc train --draws 32 --latent 8 --epochs 20 --batch 32 --rate 0.001 --cosine --warmup 2 -o runs/real
	cp runs/real/weights.safetensors jaxstruc/network/shipped/fcc.safetensors
	cp runs/real/weights.json jaxstruc/network/shipped/fcc.json
	$(BIN)/jaxstruc train-classifier -o runs/classifier
	cp runs/classifier/weights.safetensors jaxstruc/network/shipped/classifier.safetensors
	cp runs/classifier/weights.json jaxstruc/network/shipped/classifier.json

$(DEMO): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(TEST): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(DEMO)

$(DOCS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs,release]'
	touch $@ $(DEMO)

clean:
	rm -rf $(VENV) demo-out build dist docs/generated .jax_cache *.egg-info
