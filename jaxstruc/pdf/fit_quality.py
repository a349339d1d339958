r"""Whether an answer explains the data: what is wrong with it, in words.

An answer is weak where its misfit is large, where its residual still holds structure beside the noise that the data
show beyond the particle, or where it lies at an edge of what was searched.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxstruc.options.pdf import MAX_LIBRARY_ATOMS

MAX_RW = 0.35
"""Rw from which no answer is one."""
MAX_STRUCTURE_RATIO = 1.8
"""Power of the residual over that of the noise, both for a degree of freedom, from which structure is left: simulated
fits of the right model exceed it in less than 1 % of cases."""
NEGLIGIBLE_RW = 0.01
"""Rw below which a residual holds nothing to speak of."""
PARTICLE_MARGIN, MIN_NOISE_RANGE = 3.0, 5.0
"""Å beyond a particle where the data are noise alone, and of it at least."""
LIBRARY_EDGE_FRACTION = 0.9
"""Part of the most atoms that could be found from which an answer lies at the edge."""


def residual_structure(
    residual: Float[np.ndarray, " r"],
    r: Float[np.ndarray, " point"],
    g: Float[np.ndarray, " point"],
    *,
    diameter: float,
    n_independent: float,
    n_parameters: int,
) -> float | None:
    """Return the power of a residual over that of the noise, or None where the data end too soon to show their noise.

    White noise on F(Q) is even over r; so it is read beyond the particle.

    Args:
        residual: of the fit, in its range.
        r: of all data, in Å.
        g: G(r) there.
        diameter: of the particle, in Å.
        n_independent: points of the fit.
        n_parameters: fitted.
    """
    beyond_particle = r > diameter + PARTICLE_MARGIN
    if not beyond_particle.any() or r[-1] - r[beyond_particle][0] < MIN_NOISE_RANGE:
        return None
    noise_power = float(np.mean(g[beyond_particle] ** 2))
    freedom_fraction = max(1.0 - n_parameters / n_independent, 0.1)
    return float(np.mean(residual**2)) / freedom_fraction / max(noise_power, 1e-300)


def weak_fit_reasons(
    *, rw: float, structure_ratio: float | None, n_atoms: int, max_atoms: int, at_bound: Sequence[str]
) -> list[str]:
    """Return why an answer is weak, a few words each; none where it explains the data.

    Args:
        rw: of the answer.
        structure_ratio: of `structure_ratio`.
        n_atoms: of the answer.
        max_atoms: most atoms that could have been found, or 0.
        at_bound: fitted values that ended at a bound that is no physical one.
    """
    messages = []
    if rw > MAX_RW:
        messages.append(f"Rw {rw:.2f}: no candidate explains the data; check --element and the Q range")
    elif structure_ratio is not None and structure_ratio > MAX_STRUCTURE_RATIO and rw > NEGLIGIBLE_RW:
        messages.append(f"the residual holds structure, {structure_ratio:.1f} times the noise")
    if max_atoms and n_atoms >= LIBRARY_EDGE_FRACTION * max_atoms:
        advice = "raise --max-atoms" if max_atoms < MAX_LIBRARY_ATOMS else "the particle may well be larger"
        messages.append(f"{n_atoms} atoms, the library ends at {max_atoms}: {advice}")
    if at_bound:
        messages.append(f"{', '.join(at_bound)} at its bound")
    return messages
