"""Simulated small angles that the experiments share: noise as counted, curves from sums of their own."""

from collections.abc import Sequence

import numpy as np

from jaxstruc.data.measurement import Measurement
from jaxstruc.scattering import particle, smallangle
from jaxstruc.scattering.size_distributions import distribution_by_number

NODES = 401
"""Over five standard deviations on both sides: far beyond what the package sums."""


def sphere(x: np.ndarray) -> np.ndarray:
    """Return P(x) of a sphere."""
    x = np.maximum(x, 1e-3)
    return (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2


def bell(mean: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return radii, in Å, and shares by number of a Gaussian."""
    radius = mean * (1 + width * np.linspace(-5, 5, NODES))
    weight = np.where(radius > 0, np.exp(-0.5 * np.linspace(-5, 5, NODES) ** 2), 0.0)
    return np.maximum(radius, 1e-3), weight / weight.sum()


def spheres(q: np.ndarray, populations: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Return I(Q) of spheres of Gaussian populations, each of mean, width and share of the volume; I(0) of one is V."""
    total = np.zeros(len(q))
    for mean, width, share in populations:
        radius, weight = bell(mean, width)
        total += share * (sphere(q[:, None] * radius) @ (weight * radius**6)) / (weight @ radius**3)
    return total


def body(name: str, q: np.ndarray, mean: float, width: float) -> np.ndarray:
    """Return I(Q) of a body of Gaussian sizes by the package's own forward function."""
    radius, weight = bell(mean, width) if width else (np.array([mean]), np.ones(1))
    table = particle.table(name.replace("-", " "))
    squares = np.asarray(particle.form_factor(table, np.asarray(q[:, None] * radius, np.float32)), float)
    return np.asarray(smallangle.averaged(squares, distribution_by_number(radius, weight)), float)


def counted(
    name: str, q: np.ndarray, curve: np.ndarray, random: np.random.Generator, *, counts: float, relative: float = 0.0
) -> Measurement:
    """Return a curve as measured: so many counts in its largest point, a background of 5 of them in 10 000.

    Args:
        name: of the measurement.
        q: in 1/Å.
        curve: without background.
        random: of the noise.
        counts: of the largest point.
        relative: noise beside the counts', in parts of the intensity.
    """
    mean = counts * (curve / curve.max() + 5e-4)
    sigma = np.hypot(np.sqrt(mean), relative * mean)
    observed = mean + sigma * random.standard_normal(len(q))
    none = np.zeros(0)
    return Measurement(name, none, none, {}, kind="iq", q=q, intensity=observed, sigma=sigma, units="arbitrary")
