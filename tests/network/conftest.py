"""What several tests of the network share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thinned import thinned

from jaxstruc.network import dataset
from jaxstruc.network.representation import Features


@pytest.fixture(scope="session")
def kdd():
    """The data set of the KDD 2020 paper."""
    return dataset.generate("kdd", seed=0)


@pytest.fixture(scope="session")
def real():
    """The `real` preset, one instrument for each structure."""
    return dataset.generate("real", seed=0, draws=1)


@pytest.fixture(scope="session")
def few(real):
    """A twentieth of its PDFs."""
    return thinned(real, 20)


@pytest.fixture(scope="session")
def drawn_params():
    """A function that returns parameters of a network, drawn on the host: its own initialiser takes long to compile."""

    def draw(network, *, seed=0):
        atoms, satellites = network.sizes.atoms, network.sizes.satellites
        empty = Features(
            jnp.zeros((1, atoms, atoms)), jnp.zeros((1, atoms, satellites)), jnp.ones((1, atoms), bool), jnp.ones(1)
        )
        key = jax.random.key(0)
        like = jax.eval_shape(network.init, key, empty, jnp.zeros((1, network.sizes.points)), key)
        rng = np.random.default_rng(seed)

        def leaf(shape):
            wide = shape.ndim > 1
            return jnp.asarray(wide * rng.normal(size=shape.shape) / np.sqrt(np.prod(shape.shape[:-1])), jnp.float32)

        return jax.tree.map(leaf, like)

    return draw
