r"""The rounding error of a sum of squared differences, at which an iterative solver stops.

A difference of data $d_i$ and a model near them is exact to $\epsilon |d_i|$, whatever its own size. The error of
$\chi^2 = \sum_i (d_i - m_i)^2$ is then at most $2 \epsilon \chi |d| + \epsilon^2 |d|^2$, by Cauchy and Schwarz (N. J.
Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1 (2002), doi 10.1137/1.9780898718027).
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def rounding_of_squares(
    squares: Float[Array, "*batch"], data_squares: Float[Array, "*batch"]
) -> Float[Array, "*batch"]:
    """Return the rounding error of a sum of squared differences.

    Args:
        squares: the sum of squared differences, in the precision that it has been computed in.
        data_squares: the sum of the squared data.
    """
    epsilon = jnp.finfo(squares.dtype).eps
    return 2 * epsilon * jnp.sqrt(squares * data_squares) + epsilon**2 * data_squares


def squares_floor(data_squares: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return the sum of squared differences below which all is rounding: the noise of data that a model fits exactly.

    Args:
        data_squares: the sum of the squared data.
    """
    return jnp.finfo(data_squares.dtype).eps ** 2 * data_squares
