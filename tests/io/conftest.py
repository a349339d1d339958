"""Fixtures that write files for the tests of readers."""

from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path):
    def write(text, name="x.gr"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def case():
    """Return the function that gives the path of an example file by its name."""
    return lambda name: Path(__file__).parents[1] / "cases" / name
