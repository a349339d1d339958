"""What lies outside the data that a network was trained on, in words."""

from typing import Any

from jaxstruc.data.measurement import Measurement

MAX_SIZE_RATIO = 1.1
"""A particle so much larger than the largest of the training is called larger."""


def range_warnings(
    training_limits: dict[str, Any], measurement: Measurement, bond: float, diameter: float
) -> tuple[str, ...]:
    """Return how the data lie outside what the model was trained on, in words.

    Args:
        training_limits: of the model's card.
        measurement: the data, its settings complete.
        bond: nearest-neighbour distance, in Å.
        diameter: diameter of the particle, in Å, as the data or a better candidate show it.
    """
    warnings = []
    max_diameter = training_limits["relative_diameter"] * bond
    if diameter > MAX_SIZE_RATIO * max_diameter:
        warnings.append(f"a particle of {diameter:.0f} Å, larger than the model's largest ({max_diameter:.1f} Å)")
    settings = measurement.settings_by_name | {"bond": bond}
    for name in ("qmin", "qmax", "qdamp", "bond"):
        value, (low, high) = settings[name], training_limits[name]
        if not low <= value <= high:
            warnings.append(f"{name} {value:.4g} (trained on {low:g} to {high:g})")
    low = training_limits["rmax"][0]
    if measurement.r[-1] < low - 0.05:
        warnings.append(f"data only to r = {measurement.r[-1]:g} Å (trained on {low:g} Å and more)")
    return tuple(warnings)
