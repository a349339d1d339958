r"""Whether an answer explains the data: what is wrong with it, in words.

An answer is weak where its misfit is large, where its residual still holds structure beside the noise that the data
show beyond the particle, or where it lies at an edge of what was searched.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

MISFIT = 0.35
"""Rw from which no answer is one."""
STRUCTURE = 1.8
"""Power of the residual over that of the noise, both for a degree of freedom, from which structure is left: simulated
fits of the right model exceed it in less than 1 % of cases."""
FINE = 0.01
"""Rw below which a residual holds nothing to speak of."""
AWAY, ENOUGH = 3.0, 5.0
"""Å beyond a particle where the data are noise alone, and of it at least."""
MOST = 1500
"""Most atoms that a library is listed for."""
EDGE = 0.9
"""Part of the most atoms that could be found from which an answer lies at the edge."""


def structure(
    residual: Float[np.ndarray, " r"],
    r: Float[np.ndarray, " point"],
    g: Float[np.ndarray, " point"],
    *,
    diameter: float,
    independent: float,
    parameters: int,
) -> float | None:
    """Return the power of a residual over that of the noise, or None where the data end too soon to show their noise.

    White noise on F(Q) is even over r; so it is read beyond the particle.

    Args:
        residual: of the fit, in its range.
        r: of all data, in Å.
        g: G(r) there.
        diameter: of the particle, in Å.
        independent: points of the fit.
        parameters: fitted.
    """
    beyond = r > diameter + AWAY
    if not beyond.any() or r[-1] - r[beyond][0] < ENOUGH:
        return None
    noise = float(np.mean(g[beyond] ** 2))
    freedom = max(1.0 - parameters / independent, 0.1)
    return float(np.mean(residual**2)) / freedom / max(noise, 1e-300)


def reasons(*, rw: float, structure: float | None, atoms: int, largest: int, at_bound: Sequence[str]) -> list[str]:
    """Return why an answer is weak, a few words each; none where it explains the data.

    Args:
        rw: of the answer.
        structure: of `structure`.
        atoms: of the answer.
        largest: most atoms that could have been found, or 0.
        at_bound: fitted values that ended at a bound that is no physical one.
    """
    found = []
    if rw > MISFIT:
        found.append(f"Rw {rw:.2f}: no candidate explains the data; check --element and the Q range")
    elif structure is not None and structure > STRUCTURE and rw > FINE:
        found.append(f"the residual holds structure, {structure:.1f} times the noise")
    if largest and atoms >= EDGE * largest:
        advice = "raise --max-atoms" if largest < MOST else "the particle may well be larger"
        found.append(f"{atoms} atoms, the library ends at {largest}: {advice}")
    if at_bound:
        found.append(f"{', '.join(at_bound)} at its bound")
    return found
