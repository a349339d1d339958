"""Small-angle curves of spheres with Gaussian sizes and counting noise, simulated with NumPy."""

import functools

import numpy as np

from jaxstruc.io.measurement import Measurement


def sphere_form_factor(x):
    """Return P(x) of a sphere."""
    x = np.maximum(x, 1e-2)
    return (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2


def sphere_intensity(q, *populations):
    """Return I(Q) of populations, each with a mean radius in Å, a relative width and a volume fraction."""
    total = 0
    for mean, width, volume_share in populations:
        deviates = np.linspace(-5, 5, 401)
        radius, weight = np.maximum(mean * (1 + width * deviates), 1e-3), np.exp(-0.5 * deviates**2)
        total = total + volume_share * (sphere_form_factor(q[:, None] * radius) @ (weight * radius**6)) / (
            weight @ radius**3
        )
    return total


def measurement(
    *populations, counts=1e5, n_points=60, q_range=(0.01, 0.35), seed=0, with_noise=True, name="d/a.dat", **overrides
):
    """Return a measurement of populations with counting noise, by default of spheres of 40 Å with a width of 10 %."""
    q = np.linspace(*q_range, n_points)
    curve = sphere_intensity(q, *(populations or ((40.0, 0.1, 1.0),)))
    expected_counts = counts * (curve / curve.max() + 1e-3)
    noisy_counts = expected_counts + with_noise * np.sqrt(expected_counts) * np.random.default_rng(
        seed
    ).standard_normal(n_points)
    no_pdf = np.zeros(0)
    fields = {"kind": "iq", "q": q, "intensity": noisy_counts, "sigma": np.sqrt(expected_counts)} | overrides
    return Measurement(name, no_pdf, no_pdf, {}, **fields)


@functools.cache
def result(distribution=("gaussian",), body=("sphere",)):
    """Return the result for the default measurement."""
    import jaxstruc

    return jaxstruc.saxs(measurement(), element="Au", body=body, distribution=distribution)
