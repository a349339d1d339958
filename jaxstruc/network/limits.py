"""What lies outside the data that a network was trained on, in words."""

from typing import Any

from jaxstruc.data.measurement import Measurement

LARGER = 1.1
"""A particle so much larger than the largest of the training is called larger."""


def outside(limits: dict[str, Any], measurement: Measurement, bond: float, size: float) -> tuple[str, ...]:
    """Return how the data lie outside what the model was trained on, in words.

    Args:
        limits: of the model's card.
        measurement: the data, its settings complete.
        bond: nearest-neighbour distance, in Å.
        size: diameter of the particle, in Å, as the data or a better candidate show it.
    """
    said = []
    largest = limits["relative_diameter"] * bond
    if size > LARGER * largest:
        said.append(f"a particle of {size:.0f} Å, larger than the model's largest ({largest:.1f} Å)")
    known = measurement.given | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        value, (low, high) = known[name], limits[name]
        if not low <= value <= high:
            said.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
    low = limits["rmax"][0]
    if measurement.r[-1] < low - 0.05:
        said.append(f"data only to r = {measurement.r[-1]:g} Å (trained on {low:g} Å and more)")
    return tuple(said)
