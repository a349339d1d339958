#!/bin/sh
# Run the tests with the newest installed Python and the newest jax that it supports.
#     tools/latest.sh [--found] [pytest arguments]
# With --found, only print the version of this Python. The exit status is 1 if there is no Python newer than 3.11.
set -eu
cd "$(dirname "$0")/.."

newest=
for name in python3.14 python3.13 python3.12; do
  for path in "$(command -v $name || true)" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${name#python}"*/bin/python; do
    if [ -z "$newest" ] && [ -x "$path" ] && "$path" -c 'import venv' 2>/dev/null; then newest=$path; fi
  done
done
if [ -z "$newest" ]; then
  echo "No Python newer than 3.11 is installed; install one to run the tests with it." >&2
  exit 1
fi
if [ "${1:-}" = --found ]; then "$newest" --version; exit 0; fi

venv=.venv-latest
[ -x $venv/bin/python ] || "$newest" -m venv $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --editable '.[test]'
$venv/bin/python -c 'import sys, jax; print("Python", sys.version.split()[0], "with jax", jax.__version__)'
exec $venv/bin/python -m pytest -n 2 --dist loadfile "$@"
