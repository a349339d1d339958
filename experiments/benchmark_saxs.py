"""Claim: a polydisperse polyhedron takes 30 000 times less time than with sasmodels, a sphere 20 times less.

    python experiments/benchmark_saxs.py             (a minute or two)
    python experiments/benchmark_saxs.py --quick     (few curves; writes nothing)

Curves have 200 points of Q from 0.005 to 0.6 1/Å and Gaussian distributions of 35 sizes within 3 standard deviations,
with 1000 different means and widths. jaxstruc computes in single precision with the 35 sizes of sasmodels. It reads the
form factor from its table, or uses the formula of the sphere. sasmodels 1.1.0 runs in the same process, one curve after
the other, as in its fits. Its C code needs a compiler. Times are medians without compilation.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import json_rows
import numpy as np
import timing

from jaxstruc.small_angle import form_factors, simulate
from jaxstruc.small_angle.size_distributions import SizeFractions, distribution_by_number

RESULTS = Path(__file__).parent / "results"
Q = np.geomspace(0.005, 0.6, 200)
N_CURVES, N_SIZES, N_REPEATS = 1000, 35, 7
MODELS = {
    "sphere": ("sphere", "radius", 1.0, {}),
    "truncated octahedron": ("truncated_octahedron", "radius_a", 3 / np.sqrt(2), {"truncation": 1 / 3}),
    "tetrahedron": ("tetrahedron", "radius", np.sqrt(6) / 4, {}),
}
"""Model of sasmodels, name of its length parameter, ratio of this length to the edge, and further parameters."""


def gaussian_sizes(mean, pd) -> SizeFractions:
    """Return the 35 sizes that sasmodels uses."""
    t = jnp.linspace(-3.0, 3.0, N_SIZES, dtype=mean.dtype)
    weight = jnp.exp(-(t**2) / 2)
    return distribution_by_number(mean * (1 + pd * t), weight)


def curve_function(body: str) -> Callable:
    """Return the jitted function from means and widths to curves."""
    table, q = jax.tree.map(jnp.float32, form_factors.named_table(body)), jnp.asarray(Q, jnp.float32)

    def curve(mean, pd):
        size_nodes = gaussian_sizes(mean, pd)
        qr = q[:, None] * size_nodes.radius
        return simulate.mean_over_sizes(
            form_factors.sphere(qr) if body == "sphere" else form_factors.form_factor(table, qr), size_nodes
        )

    return jax.jit(jax.vmap(curve))


def sasmodels_call(body: str, radius: float, pd: float) -> Callable:
    """Return a function without arguments that computes the curve with sasmodels."""
    from sasmodels import core, direct_model

    name, length, edge_ratio, extra_parameters = MODELS[body]
    kernel = core.load_model(name, dtype="double", platform="dll").make_kernel([Q])
    parameters = {"scale": 1.0, "background": 0.0, "sld": 1.0, "sld_solvent": 0.0} | extra_parameters
    parameters |= {length: radius * form_factors.named_bodies()[body].shortest_edge * edge_ratio, f"{length}_pd": pd}
    parameters |= {f"{length}_pd_n": N_SIZES, f"{length}_pd_nsigma": 3.0}
    return lambda: direct_model.call_kernel(kernel, parameters, cutoff=0.0)


def measure(body: str, n_curves: int, repeats: int) -> dict:
    """Return the row of a body: times of both programs and the deviation between them."""
    rng = np.random.default_rng(0)
    mean, pd = (jnp.asarray(rng.uniform(*bounds, n_curves), jnp.float32) for bounds in ((25.0, 50.0), (0.05, 0.15)))
    our_curves = curve_function(body)
    _, first_seconds, batch_seconds = timing.time_calls(lambda: our_curves(mean, pd), n_repeats=repeats)
    sasmodels_curve = sasmodels_call(body, float(mean[0]), float(pd[0]))
    expected = sasmodels_curve()
    deviation = np.abs(our_curves(mean[:1], pd[:1])[0] / expected - 1).max()
    _, _, sasmodels_seconds = timing.time_calls(sasmodels_curve, n_repeats=repeats if body == "sphere" else 2)
    return {
        "body": body,
        "curves": n_curves,
        "sizes": N_SIZES,
        "q": len(Q),
        "first_call": first_seconds,
        "us_a_curve": 1e6 * batch_seconds / n_curves,
        "sasmodels_us_a_curve": 1e6 * sasmodels_seconds,
        "times": sasmodels_seconds / (batch_seconds / n_curves),
        "deviation": float(deviation),
    } | json_rows.provenance()


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Measure all bodies, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few curves, and write nothing without --out")
    parser.add_argument("--out", type=Path, help="file of the rows [results/benchmark_saxs.jsonl; with --quick none]")
    options = parser.parse_args(arguments)
    bodies = list(MODELS)[:1] if options.quick else list(MODELS)
    result_rows = [
        measure(body, 20 if options.quick else N_CURVES, 2 if options.quick else N_REPEATS) for body in bodies
    ]
    for row in result_rows:
        json_rows.print_row(row)
    if out := options.out or (None if options.quick else RESULTS / "benchmark_saxs.jsonl"):
        json_rows.write_lines(result_rows, out)
    return result_rows


if __name__ == "__main__":
    main()
