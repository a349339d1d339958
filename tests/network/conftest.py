"""Fixtures for tests of the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_datasets import thin_dataset

from jaxstruc.network.cvae import dataset
from jaxstruc.network.cvae.representation import Features


@pytest.fixture(scope="session")
def kdd_dataset():
    """Return the data set of the KDD 2020 paper."""
    return dataset.generate("kdd", seed=0)


@pytest.fixture(scope="session")
def real_dataset():
    """Return the data set of preset `real` with one instrument for each structure."""
    return dataset.generate("real", seed=0, draws=1)


@pytest.fixture(scope="session")
def small_dataset(real_dataset):
    """Return a twentieth of the PDFs of the KDD data set."""
    return thin_dataset(real_dataset, 20)


@pytest.fixture(scope="session")
def random_params():
    """Return a function that draws network parameters with NumPy, since the initialiser takes long to compile."""

    def draw_params(network, *, seed=0):
        atoms, satellites = network.sizes.atoms, network.sizes.satellites
        zero_features = Features(
            jnp.zeros((1, atoms, atoms)), jnp.zeros((1, atoms, satellites)), jnp.ones((1, atoms), bool), jnp.ones(1)
        )
        key = jax.random.key(0)
        leaf_structs = jax.eval_shape(network.init, key, zero_features, jnp.zeros((1, network.sizes.points)), key)
        rng = np.random.default_rng(seed)

        def random_leaf(struct):
            is_matrix = struct.ndim > 1
            return jnp.asarray(
                is_matrix * rng.normal(size=struct.shape) / np.sqrt(np.prod(struct.shape[:-1])), jnp.float32
            )

        return jax.tree.map(random_leaf, leaf_structs)

    return draw_params
