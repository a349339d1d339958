"""What lies outside the data that a network was trained on, in words."""

from typing import Any

import numpy as np

from jaxstruc.data.measurement import Measurement

SIGNAL = 0.12
"""Root mean square of G(r) beyond the largest particle, relative to that within it, from which it is a signal."""


def outside(limits: dict[str, Any], measurement: Measurement, bond: float) -> list[str]:
    """Return how the data lie outside what the model was trained on, in words.

    Args:
        limits: of the model's card.
        measurement: the data, its settings complete.
        bond: nearest-neighbour distance, in Å.
    """
    said = []
    largest = limits["relative_diameter"] * bond
    if signal_beyond(measurement, largest) > SIGNAL:
        said.append(f"a particle larger than the model's largest ({largest:.1f} Å)")
    known = measurement.given | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        value, (low, high) = known[name], limits[name]
        if not low <= value <= high:
            said.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
    low = limits["rmax"][0]
    if measurement.r[-1] < low - 0.05:
        said.append(f"data only to r = {measurement.r[-1]:g} Å (trained on {low:g} Å and more)")
    return said


def signal_beyond(measurement: Measurement, diameter: float) -> float:
    """Return the root mean square of G(r) over 10 Å beyond a diameter, relative to that within it.

    A particle has no distance longer than its diameter; what is left there is noise. 0 where the data end before.
    """
    r, g = measurement.r, measurement.g
    within = (r > 2.0) & (r <= diameter)
    beyond = (r > diameter + 1.5) & (r <= diameter + 11.5)
    if beyond.sum() < 10 or within.sum() < 10:
        return 0.0
    return float(np.sqrt(np.mean(g[beyond] ** 2) / np.mean(g[within] ** 2)))
