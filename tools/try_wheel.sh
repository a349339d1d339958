#!/bin/sh
# Build a wheel, install it into an empty environment outside the repository, and solve the example there.
#     tools/try_wheel.sh PYTHON [--release]
# With --release the wheel is built from the source archive, and the metadata and the size of the wheel are checked.
set -eu
cd "$(dirname "$0")/.."
python=$1
max_bytes=15000000

rm -rf dist build/lib build/bdist.*
if [ "${2:-}" = --release ]; then
  "$python" -m build --outdir dist . >/dev/null
  "$python" -m twine check --strict dist/*
else
  "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
fi
bytes=$(wc -c < "$(ls dist/*.whl)")
if [ "$bytes" -gt $max_bytes ]; then echo "The wheel has $bytes bytes, expected at most $max_bytes." >&2; exit 1; fi
echo "$(ls dist/*.whl): $bytes bytes."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check dist/*.whl
cp examples/Ag68_simulated.gr "$folder/"
cd "$folder"
unset PYTHONPATH
env/bin/python - <<'END'
import importlib.metadata
import jaxstruc
from jaxstruc.network import weights
from jaxstruc.options import pdf

assert "site-packages" in jaxstruc.__file__, jaxstruc.__file__
assert importlib.metadata.version("jaxstruc") == jaxstruc.__version__
for load, path in (
    (weights.load_autoencoder, pdf.SHIPPED),
    (weights.load_classifier, pdf.CLASSIFIER),
    (weights.load_shell_detector, pdf.SHELL_DETECTOR),
):
    print(path.name, "has the checksum of its card:", load(path).card["sha256"][:16])
END
env/bin/jaxstruc solve Ag68_simulated.gr --element Ag -o out
grep -q ",solved," out/summary.csv
