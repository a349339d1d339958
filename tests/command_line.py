"""Functions that run the command line in this process or in another one."""

import csv
import subprocess
import sys

import pytest

from jaxstruc.cli import main


def run_command(*arguments):
    """Run the command line in this process and return its exit status."""
    with pytest.raises(SystemExit) as exit_info:
        main.main([str(argument) for argument in arguments])
    return exit_info.value.code


def start_process(*arguments):
    """Start the command line in another process and return that process."""
    command = [sys.executable, "-m", "jaxstruc", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def read_table(path):
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
