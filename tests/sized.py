"""Simulated small angles for tests: spheres with Gaussian sizes, summed in NumPy, with counting noise."""

import functools

import numpy as np

from jaxstruc.data.measurement import Measurement


def form(x):
    """Return P(x) of a sphere, written out."""
    x = np.maximum(x, 1e-2)
    return (3 * (np.sin(x) - x * np.cos(x)) / x**3) ** 2


def spheres(q, *populations):
    """Return I(Q) of populations of mean, width and share of the volume."""
    total = 0
    for mean, width, share in populations:
        t = np.linspace(-5, 5, 401)
        radius, weight = np.maximum(mean * (1 + width * t), 1e-3), np.exp(-0.5 * t**2)
        total = total + share * (form(q[:, None] * radius) @ (weight * radius**6)) / (weight @ radius**3)
    return total


def measurement(*populations, counts=1e5, points=60, ends=(0.01, 0.35), seed=0, noisy=True, name="d/a.dat", **more):
    """Return what is counted of populations; a sphere of 40 Å and 10 % where none is given."""
    q = np.linspace(*ends, points)
    curve = spheres(q, *(populations or ((40.0, 0.1, 1.0),)))
    mean = counts * (curve / curve.max() + 1e-3)
    observed = mean + noisy * np.sqrt(mean) * np.random.default_rng(seed).standard_normal(points)
    none = np.zeros(0)
    given = {"kind": "iq", "q": q, "intensity": observed, "sigma": np.sqrt(mean)} | more
    return Measurement(name, none, none, {}, **given)


@functools.cache
def result(distribution=("gaussian",), body=("sphere",)):
    """Return the result of the usual sphere."""
    import jaxstruc

    return jaxstruc.saxs(measurement(), element="Au", body=body, distribution=distribution)
