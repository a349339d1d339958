r"""Smearing by a pinhole: at each Q a Gaussian in Q of standard deviation dQ, summed at even nodes.

$I_s(Q) = \int I(Q') e^{-(Q' - Q)^2 / 2\,dQ^2} dQ' / \int e^{-(Q' - Q)^2 / 2\,dQ^2} dQ'$ from Q - 2.5 dQ to Q + 3 dQ.
J. S. Pedersen, D. Posselt, K. Mortensen, J. Appl. Cryst. 23, 321 (1990), doi 10.1107/S0021889890003946.

The Gaussian is cut where sasmodels 1.1.0 cuts it, whose users compare: 2 % of it are left out, which makes the
resolution 3 % sharper than asked for. On a steep curve the tail below weighs: 6 % of a sphere's first fall at
dQ = 0.15 Q.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

N_NODES = 31
"""Even nodes of the resolution."""
NODE_RANGE = (-2.5, 3.0)
"""Standard deviations at the first and at the last node."""


def smear(
    curve: Callable[[Float[Array, "*q"]], Float[Array, "*values"]], q: Float[Array, "*q"], dq: Float[Array, "*q"]
) -> Float[Array, "*values"]:
    """Return a curve, or several, smeared by the resolution.

    Args:
        curve: function of Q; it is even in Q.
        q: in 1/Å.
        dq: in 1/Å, standard deviation of the resolution.
    """
    offset = np.linspace(*NODE_RANGE, N_NODES)
    weight = np.exp(-0.5 * offset**2) * np.where(np.abs(offset - offset.mean()) < offset[-1] - offset.mean(), 1.0, 0.5)

    def add(total, node):
        shift, node_weight = node
        return total + node_weight * curve(jnp.abs(q + dq * shift)), None

    nodes = jnp.asarray(offset, q.dtype), jnp.asarray(weight / weight.sum(), q.dtype)
    shape = jax.eval_shape(curve, q)
    return jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), nodes)[0]
