"""Agreement of curves."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rw(observed: Float[Array, " r"], calculated: Float[Array, " r"], weights: Float[Array, " r"]) -> Float[Array, ""]:
    r"""Return $R_w = \sqrt{\sum w (G_o - G_c)^2 / \sum w G_o^2}$, 0 for a perfect fit.

    Args:
        observed: measured G(r).
        calculated: G(r) of a model, on the same points.
        weights: of each point; 1 within the range that counts, 0 outside it.
    """
    misfit = jnp.sum(weights * (observed - calculated) ** 2)
    total = jnp.sum(weights * observed**2)
    return jnp.sqrt(misfit / jnp.where(total > 0, total, 1.0))


def pearson(observed: Float[Array, " r"], calculated: Float[Array, " r"]) -> Float[Array, ""]:
    """Return the correlation coefficient of two curves, from -1 to 1; 0 where one of them is constant."""
    one, two = observed - jnp.mean(observed), calculated - jnp.mean(calculated)
    lengths = jnp.sqrt(jnp.sum(one**2) * jnp.sum(two**2))
    return jnp.sum(one * two) / jnp.where(lengths > 0, lengths, 1.0)
