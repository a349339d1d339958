"""Fixtures for tests of the autoencoder for seven structure types."""

import pytest

from jaxstruc.clusters.deepstruc_shapes import deepstruc_family
from jaxstruc.network.cvae import dataset


@pytest.fixture(scope="session")
def particle_dataset():
    """Return the PDFs of the shapes of at most 40 atoms with three bond lengths."""
    shapes = [shape for shape in deepstruc_family() if len(shape.positions) <= 40]
    return dataset.generate("deepstruc", seed=0, shapes=shapes, elements=("Fe", "Pt", "Hf"))
