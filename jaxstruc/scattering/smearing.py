r"""Smearing by a pinhole: at each Q a Gaussian in Q of standard deviation dQ, by Gauss-Hermite nodes.

$I_s(Q) = \int I(Q') e^{-(Q' - Q)^2 / 2\,dQ^2} dQ' / \sqrt{2\pi}\, dQ$; a Q' below 0 counts as its size, as
scattering is even in Q. J. S. Pedersen, D. Posselt, K. Mortensen, J. Appl. Cryst. 23, 321 (1990),
doi 10.1107/S0021889890003946.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

COUNT = 11
"""Nodes."""


def places(q: Float[Array, " q"], dq: Float[Array, " q"], *, count: int = COUNT) -> Float[Array, "q node"]:
    """Return the Q at which the curve is needed, in 1/Å, given the standard deviation of each measured Q."""
    node = jnp.asarray(np.polynomial.hermite_e.hermegauss(count)[0], q.dtype)
    return jnp.abs(q[:, None] + dq[:, None] * node)


def smeared(values: Float[Array, "*batch q node"]) -> Float[Array, "*batch q"]:
    """Return the smeared curve of values at these places."""
    weight = np.polynomial.hermite_e.hermegauss(values.shape[-1])[1]
    return values @ jnp.asarray(weight / weight.sum(), values.dtype)
