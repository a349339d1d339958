"""A folder that all test processes of a run share, so that the results which many tests examine are computed once."""

import os
from collections.abc import Callable
from pathlib import Path

import filelock
import pytest


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder. Without pytest-xdist the only process has it alone."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


def shared_dataset(tmp_path_factory: pytest.TempPathFactory, preset: str, **options):
    """Return a data set of the autoencoder that one of the processes simulates."""
    from jaxstruc.network.cvae import dataset

    path = shared_folder(tmp_path_factory) / f"{preset}.h5"
    build_once(path, lambda: dataset.write(dataset.generate(preset, **options), path))
    return dataset.read(path)


def build_once(path: Path, build: Callable[[], None]) -> Path:
    """Return the path of a file after one of the processes has built it. The others wait for that process.

    Args:
        path: File that `build` writes, as the last file if it writes several.
        build: Function that writes the file.
    """
    with filelock.FileLock(f"{path}.lock"):
        if not path.exists():
            build()
    return path
