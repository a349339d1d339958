"""Claim: a polydisperse polyhedron takes 30 000 times less time than with sasmodels, a sphere 20 times less.

    python experiments/benchmark_saxs.py             (a minute or two)
    python experiments/benchmark_saxs.py --quick     (few curves; writes nothing)

200 Q from 0.005 to 0.6 1/Å, a Gaussian of 35 sizes within 3 standard deviations, 1000 different means and widths. Ours
in single precision, with the referee's own 35 sizes: P from its table, or the sphere's formula. sasmodels 1.1.0 in the
same run, one curve after the other as its fits do; its C needs a compiler. Compilation is apart; medians.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import rows

from jaxstruc.scattering import curved, particle, smallangle
from jaxstruc.scattering.size_distributions import SizeDistribution, distribution_by_number

RESULTS = Path(__file__).parent / "results"
Q = np.geomspace(0.005, 0.6, 200)
CURVES, SIZES, REPEATS = 1000, 35, 7
MODELS = {
    "sphere": ("sphere", "radius", 1.0, {}),
    "truncated octahedron": ("truncated_octahedron", "radius_a", 3 / np.sqrt(2), {"truncation": 1 / 3}),
    "tetrahedron": ("tetrahedron", "radius", np.sqrt(6) / 4, {}),
}
"""sasmodels' model, its length, that in edges, and more parameters."""


def gaussian(mean, pd) -> SizeDistribution:
    """Return the referee's 35 sizes."""
    t = jnp.linspace(-3.0, 3.0, SIZES, dtype=mean.dtype)
    weight = jnp.exp(-(t**2) / 2)
    return distribution_by_number(mean * (1 + pd * t), weight)


def nodes(body: str) -> Callable:
    """Return the function from means, widths to curves by nodes."""
    table, q = jax.tree.map(jnp.float32, particle.table(body)), jnp.asarray(Q, jnp.float32)

    def curve(mean, pd):
        several = gaussian(mean, pd)
        x = q[:, None] * several.radius
        return smallangle.averaged(curved.sphere(x) if body == "sphere" else particle.form_factor(table, x), several)

    return jax.jit(jax.vmap(curve))


def seconds(function: Callable, repeats: int) -> tuple[float, float]:
    """Return the time of the first call and the median of the next."""
    times = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - begun)
    return times[0], float(np.median(times[1:]))


def referee(body: str, radius: float, pd: float) -> Callable:
    """Return the function that computes sasmodels' curve."""
    from sasmodels import core, direct_model

    name, length, edges, more = MODELS[body]
    kernel = core.load_model(name, dtype="double", platform="dll").make_kernel([Q])
    parameters = {"scale": 1.0, "background": 0.0, "sld": 1.0, "sld_solvent": 0.0} | more
    parameters |= {length: radius * particle.bodies()[body].edge * edges, f"{length}_pd": pd}
    parameters |= {f"{length}_pd_n": SIZES, f"{length}_pd_nsigma": 3.0}
    return lambda: direct_model.call_kernel(kernel, parameters, cutoff=0.0)


def measure(body: str, curves: int, repeats: int) -> dict:
    """Return the row of a body."""
    rng = np.random.default_rng(0)
    mean, pd = (jnp.asarray(rng.uniform(*ends, curves), jnp.float32) for ends in ((25.0, 50.0), (0.05, 0.15)))
    by_nodes = nodes(body)
    first, many = seconds(lambda: by_nodes(mean, pd), repeats)
    theirs = referee(body, float(mean[0]), float(pd[0]))
    expected = theirs()
    deviation = np.abs(by_nodes(mean[:1], pd[:1])[0] / expected - 1).max()
    _, one = seconds(theirs, repeats if body == "sphere" else 2)
    return {
        "body": body, "curves": curves, "sizes": SIZES, "q": len(Q), "first_call": first,
        "us_a_curve": 1e6 * many / curves, "sasmodels_us_a_curve": 1e6 * one, "times": one / (many / curves),
        "deviation": float(deviation),
    } | rows.environment() | {"commit": rows.commit()}  # fmt: skip


def main(words: Sequence[str] | None = None) -> list[dict]:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few curves; writes nothing by itself")
    parser.add_argument("--out", type=Path, help="[results/benchmark_saxs.jsonl; quick: nowhere]")
    asked = parser.parse_args(words)
    chosen = list(MODELS)[:1] if asked.quick else list(MODELS)
    found = [measure(body, 20 if asked.quick else CURVES, 2 if asked.quick else REPEATS) for body in chosen]
    for row in found:
        rows.show(row)
    if out := asked.out or (None if asked.quick else RESULTS / "benchmark_saxs.jsonl"):
        rows.write_lines(found, out)
    return found


if __name__ == "__main__":
    main()
