"""Fixtures for tests of the experiments."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "experiments"))  # for the tests of `evaluation`


@pytest.fixture
def experiments(repository, monkeypatch):
    """Put the folder of experiments on the path, as when an experiment is run, and return the folder."""
    monkeypatch.syspath_prepend(repository / "experiments")
    return repository / "experiments"


@pytest.fixture
def restore_cpu_affinity():
    """Restore the cores of this process, because benchmarks restrict it to two cores when they are imported."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield
    if affinity is not None:
        os.sched_setaffinity(0, affinity)
