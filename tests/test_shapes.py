"""The annotations of shapes and types are checked whenever a test calls the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxstruc.clusters import distances
from jaxstruc.scattering import debye
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange


def test_an_argument_of_a_wrong_shape_or_type_is_refused():
    with pytest.raises(TypeCheckError, match="parameter 'a'"):
        distances.distances(np.zeros((4, 2)))
    with pytest.raises(TypeCheckError, match="parameter 'a'"):
        distances.distances(np.zeros((4, 3), int))
    with pytest.raises(TypeCheckError, match="parameter 'presence'"):
        debye.pairs_from_positions(np.zeros((4, 3)), np.ones(5))


def test_a_wrong_shape_is_refused_while_jax_traces():
    with pytest.raises(TypeCheckError, match="parameter 'weight'"):
        jax.eval_shape(
            lambda distance: distances.traced_histogram(
                distance, jnp.ones(4), jnp.asarray(3.0), width=0.1, max_distance=5.0
            ),
            jnp.ones(3),
        )


def test_fields_of_a_dataclass_whose_shapes_disagree_are_refused():
    with pytest.raises(TypeCheckError, match="parameter 'bond'"):
        ClusterTable(
            jnp.zeros((3, 4, 5, 8)),
            jnp.ones(2),
            jnp.zeros((3, 4)),
            jnp.ones(3),
            TableRange(max_distance=20.0, qmax=20.0),
        )
