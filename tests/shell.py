"""The command line, for tests: in this process, or in one of its own."""

import csv
import subprocess
import sys

import pytest

from jaxstruc.commands import cli


def run(*words):
    """Return the exit status of the command line."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(word) for word in words])
    return stopped.value.code


def start(*words):
    """Return the process of the command line, begun."""
    command = [sys.executable, "-m", "jaxstruc", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def table(path):
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
