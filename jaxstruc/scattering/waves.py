"""Sine and cosine together, quick in single precision: XLA's own take ten times as long on a CPU.

The nearest multiple of pi is taken off in two parts, the first short enough that its product is exact, and series
serve up to pi/2. Errors below 3e-7 for x below 1e4. In double precision they are JAX's.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

FIRST = 3.140625
"""Of pi; nine bits."""
REST = math.pi - FIRST
ODD = [(-1) ** n / math.factorial(2 * n + 1) for n in range(6)]
EVEN = [(-1) ** n / math.factorial(2 * n) for n in range(7)]


def sine_and_cosine(x: Float[Array, "*x"]) -> tuple[Float[Array, "*x"], Float[Array, "*x"]]:
    """Return sin(x) and cos(x)."""
    if x.dtype != jnp.float32:
        return jnp.sin(x), jnp.cos(x)
    turns = jnp.round(x * np.float32(1 / math.pi))
    rest = (x - turns * np.float32(FIRST)) - turns * np.float32(REST)
    sign = 1 - 2 * (turns - 2 * jnp.floor(turns / 2))
    return sign * rest * polynomial(ODD, rest**2), sign * polynomial(EVEN, rest**2)


def polynomial(factors, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return the sum of factors times powers of x, from 0."""
    total = jnp.full_like(x, factors[-1])
    for factor in factors[-2::-1]:
        total = total * x + np.asarray(factor, x.dtype)
    return total
