"""The command line, for tests: in this process, or in one of its own."""

import csv
import subprocess
import sys

import pytest

from jaxstruc.cli import main


def run_command(*arguments):
    """Return the exit status of the command line."""
    with pytest.raises(SystemExit) as exit_info:
        main.main([str(argument) for argument in arguments])
    return exit_info.value.code


def start_process(*arguments):
    """Return the process of the command line, begun."""
    command = [sys.executable, "-m", "jaxstruc", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_table(path):
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
