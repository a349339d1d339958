r"""Reasons why the answer for a measurement (its best structure) does not explain the data.

An answer is weak if its Rw is large, if its residual is clearly larger than the noise, or if it lies at a limit of the
search. The noise is measured at r beyond the particle, where G(r) contains no signal.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxstruc.options.pdf import MAX_LIBRARY_ATOMS

CHECK_ELEMENT = "check the element (--element, or that of the structure files)"
"""Advice in messages. `refine` takes the element from the structure files."""
MAX_RW = 0.35
"""Rw above which an answer is weak."""
MAX_STRUCTURE_RATIO = 1.8
"""Largest ratio of the mean squared residual (per degree of freedom) to the mean squared noise. An answer with a larger
ratio is weak. Fewer than 1 % of simulated fits of the correct model have a larger ratio."""
MAX_PRINTED_RATIO = 1000
"""Largest value of this ratio that a message states. A larger one only shows that the data have almost no noise."""
NEGLIGIBLE_RW = 0.01
"""Largest Rw at which the residual is not compared with the noise."""
PARTICLE_MARGIN, MIN_NOISE_RANGE = 3.0, 5.0
"""Distance beyond the particle's diameter at which the range of pure noise starts, and the shortest length of this
range, both in Å."""
LIBRARY_EDGE_FRACTION = 0.9
"""Fraction of the largest possible number of atoms above which an answer is at the limit of the search."""


def residual_structure(
    residual: Float[np.ndarray, " r"],
    r: Float[np.ndarray, " point"],
    g: Float[np.ndarray, " point"],
    *,
    diameter: float,
    n_independent: float,
    n_parameters: int,
) -> float | None:
    """Return the ratio of the mean squared residual (per degree of freedom) to the mean squared noise.

    White noise on F(Q) has the same size at all r. It is measured at r beyond the particle, where there is no signal.
    The result is None if the data end too close to the particle.

    Args:
        residual: Residual of the fit in the fitted range, in 1/Å².
        r: Points of all data, in Å.
        g: Measured G(r) at these points, in 1/Å².
        diameter: Diameter of the particle, in Å.
        n_independent: Number of independent points of the fit.
        n_parameters: Number of fitted values.
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
    """Return the reasons why an answer is weak; an empty list if it explains the data.

    Args:
        rw: Rw of the answer.
        structure_ratio: Result of `residual_structure`.
        n_atoms: Number of atoms in the answer.
        max_atoms: Largest number of atoms that the source allows; 0 if there is no limit.
        at_bound: Names of the fitted parameters that are at a bound which is not a physical limit.
    """
    messages = []
    if rw > MAX_RW:
        messages.append(f"no candidate explains the data (Rw {rw:.2f}): {CHECK_ELEMENT} and the Q range")
    elif structure_ratio is not None and structure_ratio > MAX_STRUCTURE_RATIO and rw > NEGLIGIBLE_RW:
        ratio_text = f"{structure_ratio:.1f}" if structure_ratio < MAX_PRINTED_RATIO else f"over {MAX_PRINTED_RATIO:g}"
        messages.append(
            "the best structure does not explain all of the data: its mean squared residual is "
            f"{ratio_text} times that of the noise"
        )
    if max_atoms and n_atoms >= LIBRARY_EDGE_FRACTION * max_atoms:
        advice = (
            f"raise --max-atoms, up to {MAX_LIBRARY_ATOMS}"
            if max_atoms < MAX_LIBRARY_ATOMS
            else "pass larger clusters with --library"
        )
        messages.append(f"the best structure has {n_atoms} atoms, close to the limit of {max_atoms}: {advice}")
    if at_bound:
        messages.append(f"the fit ended at a bound of {' and '.join(at_bound)}: the structure may be wrong")
    return messages
