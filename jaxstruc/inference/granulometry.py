"""The sizes of a sample's particles from small angles, as columns with a 90 % band."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SURE = 0.95
"""Probability from which a body is told."""
UNTOLD = "not determined"
"""In place of a body below."""


@dataclass(frozen=True)
class Granulometry:
    """A distribution of sizes; all [size]."""

    method: str
    """The distribution's name; of the best body."""
    radius: np.ndarray
    """Å, of spheres of equal volume, even in the logarithm."""
    volume: np.ndarray
    """Density of volume in ln R; its integral is 1. So for the next."""
    volume_low: np.ndarray
    """Ends of the 90 % band, over all bodies and distributions by their weights; so for the number's."""
    volume_high: np.ndarray
    number: np.ndarray
    """Density of particles in ln R."""
    number_low: np.ndarray
    number_high: np.ndarray
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""

    @property
    def table(self) -> dict[str, np.ndarray]:
        """The columns by name."""
        names = ("radius", "volume", "volume_low", "volume_high", "number", "number_low", "number_high")
        return {name: getattr(self, name) for name in names}
