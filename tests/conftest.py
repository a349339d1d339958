"""What several tests share."""

import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What one test process compiles, the others, those they start, and the next run need not; read as jax is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# One thread of BLAS a process, read as numpy is imported: those of two processes on two cores wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))  # for `real_space`, the other way to G(r)

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
def golden_loader():
    """The function that loads the curves of one structure."""
    return load_golden


@pytest.fixture
def fcc19():
    """Positions of the 19-atom fcc cluster with bonds of 2.78 Å."""
    from jaxstruc.clusters import fcc_shapes as shapes

    return shapes.fcc_cluster((2, 2, 2)).positions * 2.78


@pytest.fixture(scope="session")
def repository():
    """The root of the repository."""
    return ROOT
