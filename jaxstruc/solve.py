"""A measured PDF to ranked structures.

`candidates` is the pure way from PDFs to coordinates and weights; `search` adds the fit to the data; `rank` and
`outside` say on the host what a person wants to know of the result.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstruc import dataset, refinement, representation, templates, trilateration
from jaxstruc.measured import Measurement
from jaxstruc.model import CVAE
from jaxstruc.observed import Target
from jaxstruc.refinement import Fit
from jaxstruc.structure import distances
from jaxstruc.templates import Span, Template

NEIGHBOURS = 1.25
"""Atoms count as neighbours up to this many times their nearest distance; fcc's second shell lies at 1.41."""
PRESENT = 0.5
"""An atom is there from this probability on."""
CLOSEST = 0.6
"""Atoms closer than this many bonds make no structure."""
SAME = 0.1
"""Structures whose sorted distances differ by less than this root mean square, in Å, are one."""
UNUSABLE = "no structure"
"""Remark of a draw with fewer than two atoms or without a finite fit."""
SIGNAL = 0.12
"""Root mean square of G(r) beyond the largest particle, relative to that within it, from which it is a signal."""


class Candidates(NamedTuple):
    """Structures drawn for a batch of PDFs."""

    positions: Float[Array, "batch sample atom 3"]
    """Å"""
    weights: Float[Array, "batch sample atom"]
    """Probability that the atom is there."""
    radius: Float[Array, "batch sample"]
    """The network's own radius of the particle, in Å; the positions are scaled by the bond length instead."""
    stress: Float[Array, "batch sample"]
    """Disagreement of the decoded distances, in radii."""
    converged: Bool[Array, "batch sample"]
    """Of the trilateration."""


class Ranked(NamedTuple):
    """One distinct structure of one PDF."""

    sample: int
    """Index of the draw it stands for."""
    draws: int
    """Draws merged into it."""
    remark: str
    """What is wrong with it, or nothing."""


def candidates(
    params: Any,
    pdf: Float[Array, "batch r"],
    bond: Float[Array, " batch"],
    key: Array,
    *,
    network: CVAE,
    samples: int,
) -> Candidates:
    """Return structures drawn for each PDF: a pure function, for `jit` and `grad`.

    The prior network's density is sampled, the draws decoded and trilaterated in one batch, and scaled so that
    neighbours lie one bond length apart. All PDFs see the same noise, so a result does not depend on its batch.

    Args:
        params: of the network.
        pdf: G(r) on `dataset.GRID`, 0 where there are no data; any scale.
        bond: nearest-neighbour distance of each sample, in Å.
        key: random key.
        network: the CVAE.
        samples: draws for each PDF.
    """
    prior: Any = network.apply(params, dataset.normalised(pdf), method=CVAE.prior)
    noise = jax.random.normal(key, (samples, 1, network.sizes.latent), pdf.dtype)
    z = jnp.swapaxes(prior.mean + jnp.exp(0.5 * prior.log_variance) * noise, 0, 1)
    decoded: Any = network.apply(params, z, method=CVAE.decode)
    weights = jax.nn.sigmoid(decoded.presence)
    anchors = jnp.asarray(representation.satellites(network.sizes.satellites), pdf.dtype)
    solve_one = partial(trilateration.trilaterate, anchors=anchors)
    found = jax.vmap(jax.vmap(solve_one))(jax.nn.relu(decoded.pair), jax.nn.relu(decoded.satellite), weights)
    scale = bond[:, None] / jax.vmap(jax.vmap(neighbour_distance))(found.positions, weights)
    return Candidates(
        positions=found.positions * scale[..., None, None],
        weights=weights,
        radius=jnp.exp(decoded.log_radius),
        stress=found.stress,
        converged=found.converged,
    )


def neighbour_distance(positions: Float[Array, "atom 3"], weights: Float[Array, " atom"]) -> Float[Array, ""]:
    """Return the mean distance of neighbours, in the positions' unit; 1 where there are none.

    Neighbours are pairs of present atoms up to `NEIGHBOURS` times the median nearest distance apart: unlike the nearest
    distance alone, their mean is not shortened by errors of the coordinates.
    """
    between = distances(positions)
    there = weights > PRESENT
    pair = there[:, None] & there[None, :] & ~np.eye(weights.size, dtype=bool)
    nearest = jnp.min(jnp.where(pair, between, jnp.inf), axis=1)
    median = jnp.nanmedian(jnp.where(jnp.isfinite(nearest), nearest, jnp.nan))
    close = pair & (between < NEIGHBOURS * jax.lax.stop_gradient(median))
    share = jnp.where(close, weights[:, None] * weights[None, :], 0.0)
    total = jnp.sum(share)
    mean = jnp.sum(share * between) / jnp.where(total > 0, total, 1.0)
    return jnp.where(mean > 0, mean, 1.0)


@partial(jax.jit, static_argnames=("network", "samples", "span"))
def search(
    params: Any, pdf: Float[Array, "batch r"], targets: Target, key: Array, *, network: CVAE, samples: int, span: Span
) -> tuple[Candidates, Fit]:
    """Return candidates for each PDF and their fits to the data, all samples of a PDF in one batch.

    Args:
        params: of the network.
        pdf: as for `candidates`.
        targets: of `observed.stacked`, one for each PDF.
        key: random key.
        network: the CVAE.
        samples: draws for each PDF.
        span: what the targets were made for.
    """
    found = candidates(params, pdf, targets.bond, key, network=network, samples=samples)

    def fit(item):
        positions, weights, target = item
        tables = jax.vmap(partial(template, bond=target.bond, span=span))(positions, weights)
        return refinement.refine_all(tables, target, span=span)

    return found, jax.lax.map(fit, (found.positions, found.weights, targets))


def template(positions: Float[Array, "atom 3"], weights: Float[Array, " atom"], bond, *, span: Span) -> Template:
    """Return a drawn structure as a fit needs it: of the atoms that are there."""
    return templates.of_distances(distances(positions), (weights > PRESENT).astype(weights.dtype), bond, span=span)


def model_input(measurement: Measurement, *, rmin: float) -> Float[np.ndarray, " r"]:
    """Return a measured G(r) on the model's grid, 0 below rmin and beyond the data.

    Whittaker-Shannon interpolation: G(r) holds no frequency above qmax, and the data's step is below pi / qmax.
    """
    grid = dataset.GRID.r
    step = (measurement.r[-1] - measurement.r[0]) / (len(measurement.r) - 1)
    kernel = np.sinc((grid[:, None] - measurement.r) / step)
    inside = (grid >= max(rmin, measurement.r[0]) - step / 2) & (grid <= measurement.r[-1] + step / 2)
    return np.where(inside, kernel @ measurement.g, 0.0)


def rank(found: Candidates, fit: Fit, *, bond: float) -> list[Ranked]:
    """Return the distinct structures of one PDF, best Rw first, those with a fault last; empty where none is usable.

    Args:
        found: candidates of one PDF, without the batch axis.
        fit: their fits, likewise.
        bond: nearest-neighbour distance, in Å.
    """
    faults = [_fault(found, fit, sample, bond) for sample in range(len(fit.rw))]
    usable = [sample for sample, fault in enumerate(faults) if fault != UNUSABLE]
    order = sorted(usable, key=lambda sample: (bool(faults[sample]), fit.rw[sample]))
    kept: list[Ranked] = []
    lists: list[np.ndarray] = []
    for sample in order:
        mine = _sorted_distances(found, sample) * fit.values.stretch[sample]
        same = (i for i, other in enumerate(lists) if _same(mine, other))
        if (index := next(same, None)) is None:
            kept.append(Ranked(sample, 1, faults[sample]))
            lists.append(mine)
        else:
            kept[index] = kept[index]._replace(draws=kept[index].draws + 1)
    return kept


def outside(limits: dict[str, Any], measurement: Measurement, given: dict[str, float], bond: float) -> list[str]:
    """Return how the data lie outside what the model was trained on, in words.

    Args:
        limits: of the model's card.
        measurement: the data.
        given: the settings qmin, qmax, qdamp.
        bond: nearest-neighbour distance, in Å.
    """
    said = []
    largest = limits["relative_diameter"] * bond
    if signal_beyond(measurement, largest) > SIGNAL:
        said.append(f"a particle larger than the model's largest ({largest:.1f} Å)")
    for name, value in {**given, "bond": bond}.items():
        low, high = limits[name]
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


def _fault(found: Candidates, fit: Fit, sample: int, bond: float) -> str:
    between = _sorted_distances(found, sample)
    if not len(between) or not np.isfinite(between).all() or not np.isfinite(fit.rw[sample]):
        return UNUSABLE
    if between[0] < CLOSEST * bond:
        return f"atoms {between[0]:.2f} Å apart"
    if not found.converged[sample]:
        return "trilateration not converged"
    return ""


def _sorted_distances(found: Candidates, sample: int) -> np.ndarray:
    positions = found.positions[sample][found.weights[sample] > PRESENT]
    first, second = np.triu_indices(len(positions), 1)
    return np.sort(np.linalg.norm(positions[first] - positions[second], axis=1))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return len(a) == len(b) and float(np.sqrt(np.mean((a - b) ** 2))) < SAME
