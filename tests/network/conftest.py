"""Fixtures for tests of the network."""

import pytest
from shared_folder import shared_dataset
from small_datasets import thin_dataset


@pytest.fixture(scope="session")
def real_dataset(tmp_path_factory):
    """Return the data set of preset `real` with one instrument for each structure."""
    return shared_dataset(tmp_path_factory, "real", seed=0, draws=1)


@pytest.fixture(scope="session")
def small_dataset(real_dataset):
    """Return a twentieth of the PDFs of `real_dataset`."""
    return thin_dataset(real_dataset, 20)
