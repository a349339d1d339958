"""What several tests share."""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # What one test process compiles, the others and those they start need not; read as jax is imported.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxstruc-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax
import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=sorted(path.stem for path in GOLDEN.glob("*.npz")))
def golden(request):
    """Curves of diffpy.srreal 1.4.0, see tools/make_golden.py."""
    return load_golden(request.param)


def load_golden(name: str) -> dict:
    """Return the arrays and the meta data of one structure."""
    with np.load(GOLDEN / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files} | {"meta": json.loads(str(archive["meta"]))}


@pytest.fixture
def golden_of():
    """The function that loads the curves of one structure."""
    return load_golden


@pytest.fixture
def fcc19():
    """Positions of the 19-atom fcc cluster with bonds of 2.78 Å."""
    from jaxstruc import clusters

    return clusters.fcc((2, 2, 2)).positions * 2.78


@pytest.fixture
def repository():
    """The root of the repository."""
    return Path(__file__).parents[1]
