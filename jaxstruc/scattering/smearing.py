r"""Smearing by a pinhole: at each Q a Gaussian in Q of standard deviation dQ, summed at even nodes.

$I_s(Q) = \int I(Q') e^{-(Q' - Q)^2 / 2\,dQ^2} dQ' / \sqrt{2\pi}\, dQ$. J. S. Pedersen, D. Posselt, K. Mortensen,
J. Appl. Cryst. 23, 321 (1990), doi 10.1107/S0021889890003946. The sum is right to 2e-5 of a wave's height where 2 R dQ
is below 8 (21 nodes). A Q' below 2 % of Q, where there is a beam stop and a power law has no end, counts as that.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

COUNT = 21
"""Nodes."""
REACH = (4.5, 4.5)
"""Standard deviations below and above."""
REFEREE = (2.5, 3.0)
"""Those of sasmodels 1.1.0: 2 % are left out, which makes its resolution 3 % sharper than asked."""
LEAST = 0.02
"""Of Q."""


def places(
    q: Float[Array, " q"], dq: Float[Array, " q"], *, count: int = COUNT, reach: tuple[float, float] = REACH
) -> Float[Array, "q node"]:
    """Return the Q at which the curve is needed, in 1/Å, given the standard deviation of each measured Q."""
    node = jnp.asarray(np.linspace(-reach[0], reach[1], count), q.dtype)
    return jnp.maximum(q[:, None] + dq[:, None] * node, LEAST * q[:, None])


def smeared(values: Float[Array, "*batch q node"], *, reach: tuple[float, float] = REACH) -> Float[Array, "*batch q"]:
    """Return the smeared curve of values at these places."""
    weight = np.exp(-(np.linspace(-reach[0], reach[1], values.shape[-1]) ** 2) / 2)
    weight[[0, -1]] /= 2
    return values @ jnp.asarray(weight / weight.sum(), values.dtype)
