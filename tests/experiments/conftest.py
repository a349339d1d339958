"""What the tests of experiments share."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # for the tests of `evaluation`


@pytest.fixture
def experiments(repository, monkeypatch):
    """The folder of experiments, on the path as when one is run."""
    monkeypatch.syspath_prepend(repository / "experiments")
    return repository / "experiments"


@pytest.fixture
def restore_cpu_affinity():
    """The benchmarks take two cores as they are imported; the tests after this have their own again."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if affinity is not None:
        os.sched_setaffinity(0, affinity)
