"""Fast sine and cosine in single precision. The functions of XLA take ten times as long on a CPU.

The nearest multiple of pi is subtracted from x. For this, pi is split into two parts. The first part has so few bits
that its products with the multiples are exact. Power series give sine and cosine of the remainder, which is at most
pi/2. The errors are below 3e-7 if x is below 1e4. In
double precision, the functions of JAX are used.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PI_HIGH = 3.140625
"""First part of pi. It has nine bits."""
PI_LOW = math.pi - PI_HIGH
SINE_COEFFICIENTS = [(-1) ** n / math.factorial(2 * n + 1) for n in range(6)]
COSINE_COEFFICIENTS = [(-1) ** n / math.factorial(2 * n) for n in range(7)]


def sine_and_cosine(x: Float[Array, "*x"]) -> tuple[Float[Array, "*x"], Float[Array, "*x"]]:
    """Return sin(x) and cos(x)."""
    if x.dtype != jnp.float32:
        return jnp.sin(x), jnp.cos(x)
    half_turns = jnp.round(x * np.float32(1 / math.pi))
    remainder = (x - half_turns * np.float32(PI_HIGH)) - half_turns * np.float32(PI_LOW)
    sign = 1 - 2 * (half_turns - 2 * jnp.floor(half_turns / 2))
    return sign * remainder * polynomial(SINE_COEFFICIENTS, remainder**2), sign * polynomial(
        COSINE_COEFFICIENTS, remainder**2
    )


def polynomial(coefficients, x: Float[Array, "*x"]) -> Float[Array, "*x"]:
    """Return the polynomial of x whose coefficients begin with the constant term."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + np.asarray(coefficient, x.dtype)
    return total
