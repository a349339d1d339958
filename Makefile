# `make demo` and `make test` do everything; each installs what it needs into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A stamp a kind of installation: nothing is installed twice.
DEMO = $(VENV)/.installed
TEST = $(VENV)/.installed-test

.PHONY: demo test lint test-latest test-latest-quick example weights clean

demo: $(DEMO)
	$(BIN)/jaxstruc solve examples/Ag68_simulated.gr --element Ag -o demo-out

test: $(TEST) lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The newest Python and the newest jax that install; see tools/latest.sh.
test-latest:
	sh tools/latest.sh
test-latest-quick:
	sh tools/latest.sh tests/test_scattering.py tests/test_trilateration.py tests/test_model.py

example: $(DEMO)
	$(BIN)/python examples/make_example.py

# Trains the shipped weights anew (about half an hour on 2 cores) and puts them into the package.
weights: $(DEMO)
	$(BIN)/jaxstruc train --draws 32 --latent 8 --epochs 20 --batch 32 --rate 0.001 --cosine --warmup 2 -o runs/real
	cp runs/real/weights.safetensors jaxstruc/weights/fcc.safetensors
	cp runs/real/weights.json jaxstruc/weights/fcc.json

$(DEMO): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(TEST): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(DEMO)

clean:
	rm -rf $(VENV) demo-out build *.egg-info
