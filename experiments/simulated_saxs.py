"""Simulated small-angle curves for the experiments, computed independently of the package, with counting noise."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from scipy.special import j1

from jaxstruc.io.measurement import Measurement
from jaxstruc.small_angle import form_factors, simulate
from jaxstruc.small_angle.size_distributions import distribution_by_number

N_NODES = 401
"""Number of sizes within five standard deviations of the mean. It is larger than in the package."""


def sphere_form_factor(qr: np.ndarray) -> np.ndarray:
    """Return P(x) of a sphere."""
    qr = np.maximum(qr, 1e-3)
    return (3 * (np.sin(qr) - qr * np.cos(qr)) / qr**3) ** 2


def gaussian_sizes(mean: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the radii in Å and the number fractions of a Gaussian distribution."""
    radius = mean * (1 + width * np.linspace(-5, 5, N_NODES))
    weight = np.where(radius > 0, np.exp(-0.5 * np.linspace(-5, 5, N_NODES) ** 2), 0.0)
    return np.maximum(radius, 1e-3), weight / weight.sum()


def sphere_intensity(q: np.ndarray, populations: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Return I(Q) of populations of spheres with Gaussian sizes, each with mean (Å), width and volume fraction."""
    total = np.zeros(len(q))
    for mean, width, share in populations:
        radius, weight = gaussian_sizes(mean, width)
        total += share * (sphere_form_factor(q[:, None] * radius) @ (weight * radius**6)) / (weight @ radius**3)
    return total


def number_distribution(name: str, mean: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the radii in Å and the number fractions of a Gaussian, lognormal, Schulz or LSW distribution.

    LSW is the distribution of I. M. Lifshitz, V. V. Slyozov and C. Wagner. It has a fixed width, 0.215.
    """
    if name == "gaussian":
        return gaussian_sizes(mean, width)
    if name == "lsw":
        ratio = np.linspace(1e-3, 1.5, N_NODES + 1)[:-1]
        log_weight = (
            2 * np.log(ratio) - 7 / 3 * np.log(3 + ratio) - 11 / 3 * np.log(1.5 - ratio) - ratio / (1.5 - ratio)
        )
    else:
        ratio = np.maximum(1 + width * np.linspace(-7, 9, 2 * N_NODES), 1e-3)
        log_variance = np.log1p(width**2)
        log_weight = {
            "lognormal": -((np.log(ratio) + log_variance / 2) ** 2) / (2 * log_variance) - np.log(ratio),
            "schulz": (1 / width**2 - 1) * np.log(ratio) - ratio / width**2,
        }[name]
    weight = np.exp(log_weight - log_weight.max())
    return mean * ratio, weight / weight.sum()


def body_intensity(name: str, q: np.ndarray, mean: float, width: float) -> np.ndarray:
    """Return I(Q) of a body with Gaussian sizes, computed by the package."""
    radius, weight = gaussian_sizes(mean, width) if width else (np.array([mean]), np.ones(1))
    return sizes_intensity(name, q, radius, weight)


def sizes_intensity(name: str, q: np.ndarray, radius: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return I(Q) of a body with given radii in Å and number fractions, computed by the package."""
    table = form_factors.named_table(name.replace("-", " "))
    squared_form_factor = np.asarray(
        form_factors.form_factor(table, jnp.asarray(q[:, None] * radius, jnp.float32)), float
    )
    return np.asarray(simulate.mean_over_sizes(squared_form_factor, distribution_by_number(radius, weight)), float)


def shaped_intensity(body: str, q: np.ndarray, mean: float, width: float, shape: float, ratio: float) -> np.ndarray:
    """Return I(Q) of a body with two lengths, or of hard spheres, with Gaussian sizes, from formulas in NumPy.

    Args:
        body: Name of the body.
        q: Values of Q, in 1/Å.
        mean: Mean R_eq in Å.
        width: Relative width of the sizes.
        shape: Aspect ratio, thickness of the shell in Å, or volume fraction of the hard spheres.
        ratio: Contrast of the shell divided by that of the core.
    """
    radius, weight = gaussian_sizes(mean, width)
    qr = q[:, None] * radius
    if body == "core-shell":
        inner = np.maximum(1 - shape / radius, 0.0)
        squares = (ratio * _amplitude(qr) + (1 - ratio) * inner**3 * _amplitude(qr * inner)) ** 2
    elif body == "hard-sphere":
        squares = sphere_form_factor(qr) * hard_sphere_structure(2 * qr, shape)
    else:
        grid = np.linspace(0, 1.02 * qr.max(), 2000)
        squares = np.interp(qr, grid, _revolution_form_factor(body, grid, shape))
    return squares @ (weight * radius**6) / (weight @ radius**3)


def _amplitude(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, 1e-3)
    return 3 * (np.sin(x) - x * np.cos(x)) / x**3


def _revolution_form_factor(body: str, x: np.ndarray, aspect: float) -> np.ndarray:
    """Return P of a spheroid or cylinder at x = q R_eq, as a sum over 400 orientations."""
    node, weight = np.polynomial.legendre.leggauss(400)
    cosine, weight = (node + 1) / 2, weight / 2
    x = np.maximum(x, 1e-3)[:, None]
    if body == "spheroid":
        return _amplitude(x * aspect ** (-1 / 3) * np.sqrt(1 + (aspect**2 - 1) * cosine**2)) ** 2 @ weight
    radius = x * (2 / (3 * aspect)) ** (1 / 3)
    radial_phase = radius * np.sqrt(1 - cosine**2)
    return (2 * j1(radial_phase) / radial_phase * np.sinc(radius * aspect * cosine / np.pi)) ** 2 @ weight


def hard_sphere_structure(x: np.ndarray, fraction: float) -> np.ndarray:
    """Return the structure factor of Percus and Yevick at x = 2 Q R, in the form of N. W. Ashcroft and J. Lekner.

    Phys. Rev. 145, 83 (1966), doi 10.1103/PhysRev.145.83. The integral over the distance is a sum over Gauss points.
    """
    node, weight = np.polynomial.legendre.leggauss(200)
    s, weight = (node + 1) / 2, weight / 2
    alpha = (1 + 2 * fraction) ** 2 / (1 - fraction) ** 4
    beta = -6 * fraction * (1 + fraction / 2) ** 2 / (1 - fraction) ** 4
    kernel = weight * s**2 * (alpha + beta * s + fraction * alpha / 2 * s**3)
    grid = np.linspace(0, 1.01 * x.max(), 4000)
    return np.interp(x, grid, 1 / (1 + 24 * fraction * (np.sinc(grid[:, None] * s / np.pi) @ kernel)))


def simulate_measurement(
    name: str, q: np.ndarray, curve: np.ndarray, rng: np.random.Generator, *, counts: float, relative_noise: float = 0.0
) -> Measurement:
    """Return a curve with counting noise and a background of 0.05 % of its largest point.

    Args:
        name: Name of the measurement.
        q: Values of Q, in 1/Å.
        curve: Intensity without background.
        rng: Random generator of the noise.
        counts: Number of counts in the largest point.
        relative_noise: Standard deviation of additional noise, relative to the intensity.
    """
    expected_counts = counts * (curve / curve.max() + 5e-4)
    sigma = np.hypot(np.sqrt(expected_counts), relative_noise * expected_counts)
    return measurement_with_noise(name, q, expected_counts, sigma, rng)


def measurement_with_noise(
    name: str, q: np.ndarray, intensity: np.ndarray, sigma: np.ndarray, rng: np.random.Generator
) -> Measurement:
    """Return an intensity with random noise of the standard deviation sigma as a measurement."""
    empty = np.zeros(0)
    observed = intensity + sigma * rng.standard_normal(len(q))
    return Measurement(
        name, empty, empty, {}, kind="iq", q=q, intensity=observed, sigma=sigma, intensity_unit="arbitrary"
    )
