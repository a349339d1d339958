"""Fixtures that write files for the tests of readers."""

import pytest


@pytest.fixture
def write(tmp_path):
    def write(text, name="x.gr"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
