"""What the experiments on trilateration share: the distances drawn, and SciPy's solutions beside ours."""

from typing import NamedTuple

import numpy as np
import scipy.optimize
from ase.cluster.cubic import FaceCenteredCubic

from jaxstruc.network import representation
from jaxstruc.structures.shapes import fcc_family

MISSING, OUTLIERS = 0.1, 0.05
"""Share of the distances that are missing, and that are replaced by a number between 0 and 2 radii."""
TUNING = 4.685
"""Scale of the robust loss over the noise, for 95 % of the precision; Beaton and Tukey (1974)."""
LEAST_SCALE = 0.02
"""Radii; scale of the robust loss where there is no noise."""


class Drawn(NamedTuple):
    """Distances of a batch of structures in double precision, in radii, and the truth."""

    positions: np.ndarray
    pair: np.ndarray
    satellite: np.ndarray
    presence: np.ndarray
    anchors: np.ndarray
    pair_weight: np.ndarray | None
    satellite_weight: np.ndarray | None
    scale: float | None


def shape(atoms: int) -> np.ndarray:
    """Return the atoms of an fcc ball nearest its centre, as many as asked for, on the unit sphere."""
    lattice = FaceCenteredCubic("Au", [(1, 0, 0), (1, 1, 0), (1, 1, 1)], [9, 9, 9], latticeconstant=1.0).positions
    lattice = lattice - lattice.mean(axis=0)
    near = np.argsort(np.linalg.norm(lattice, axis=1).round(6), kind="stable")[:atoms]
    return on_unit_sphere(lattice[near])


def on_unit_sphere(positions: np.ndarray) -> np.ndarray:
    """Return positions with the most central atom at the origin and the farthest at distance 1."""
    centred = positions - positions.mean(axis=0)
    centred = centred - centred[np.argmin(np.linalg.norm(centred, axis=1).round(6))]
    return centred / np.linalg.norm(centred, axis=1).max()


def family() -> list[np.ndarray]:
    """Return the eight fcc shapes of fewer than 100 atoms on the unit sphere."""
    return [on_unit_sphere(cluster.positions) for cluster in fcc_family()]


def drawn(
    shapes: list[np.ndarray],
    rng: np.random.Generator,
    *,
    count: int,
    satellites: int,
    noise: float,
    case: str,
    atoms: int | None = None,
) -> Drawn:
    """Return distances of `count` randomly turned structures, padded to `atoms` or the largest.

    The shapes follow one another. Each unordered pair and each atom-satellite distance has one Gaussian error; what
    falls below zero is set to zero. Missing distances are NaN with weight 0. Outliers are uniform between 0 and 2.
    """
    atoms = atoms or max(map(len, shapes))
    anchors = representation.satellites(satellites)
    positions, presence = np.zeros((count, atoms, 3)), np.zeros((count, atoms))
    for k in range(count):
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        turned = shapes[k % len(shapes)] @ turn
        positions[k, : len(turned)], presence[k, : len(turned)] = turned, 1.0
    pair = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    satellite = np.linalg.norm(positions[:, :, None] - anchors, axis=-1)
    pair = np.maximum(pair + noise * _symmetric(rng.normal(size=pair.shape)), 0.0)
    satellite = np.maximum(satellite + noise * rng.normal(size=satellite.shape), 0.0)
    pair_weight = satellite_weight = scale = None
    if case == "missing":
        pair_weight = (_symmetric(rng.uniform(size=pair.shape)) >= MISSING) * 1.0
        satellite_weight = (rng.uniform(size=satellite.shape) >= MISSING) * 1.0
        pair, satellite = np.where(pair_weight, pair, np.nan), np.where(satellite_weight, satellite, np.nan)
    if case == "outliers":
        gross = _symmetric(rng.uniform(size=pair.shape)) < OUTLIERS
        pair = np.where(gross, _symmetric(rng.uniform(0, 2, size=pair.shape)), pair)
        gross = rng.uniform(size=satellite.shape) < OUTLIERS
        satellite = np.where(gross, rng.uniform(0, 2, size=satellite.shape), satellite)
        scale = max(TUNING * noise, LEAST_SCALE)
    return Drawn(positions, pair, satellite, presence, anchors, pair_weight, satellite_weight, scale)


def each(given: Drawn):
    """Yield the arguments of `together` and `one_by_one` for each structure, without its padding."""
    for k, presence in enumerate(given.presence):
        there = presence > 0
        pair, satellite = given.pair[k][there][:, there], given.satellite[k][there]
        known, seen = np.isfinite(pair), np.isfinite(satellite)
        # A missing distance has no weight; 0 in its place keeps the sums finite.
        yield np.where(known, pair, 0.0), np.where(seen, satellite, 0.0), given.anchors, known * 1.0, seen * 1.0


def together(pair, satellite, anchors, pair_weight, satellite_weight) -> np.ndarray:
    """Return all atoms' positions by SciPy's L-BFGS-B: squared residuals, analytic gradient, closed-form start."""
    weight = pair_weight * (1 - np.eye(len(pair)))

    def value(x):
        x = x.reshape(-1, 3)
        squared = (x**2).sum(axis=1)
        total, gradient = 0.0, 0.0
        terms = ((x, squared, pair, weight, 0.5), (anchors, (anchors**2).sum(axis=1), satellite, satellite_weight, 1.0))
        for points, lengths, distance, kept, share in terms:
            between = np.sqrt(np.maximum(squared[:, None] + lengths - 2 * x @ points.T, 1e-12))
            error = between - distance
            pull = kept * error / between
            total += share * np.vdot(kept * error, error)
            gradient = gradient + 2 * (x * pull.sum(axis=1)[:, None] - pull @ points)
        return total, gradient.ravel()

    start = np.stack(
        [closed_form(*row) for row in zip(satellite, satellite_weight, [anchors] * len(pair), strict=True)]
    )
    return scipy.optimize.minimize(value, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(-1, 3)


def one_by_one(pair, satellite, anchors, pair_weight, satellite_weight) -> np.ndarray:
    """Return positions atom after atom by SciPy's L-BFGS-B, from satellites and the atoms placed before.

    As in KDD 2020 section 4.2; with squared residuals, the analytic gradient and a closed-form start, which is kinder
    than the published code.
    """
    placed = np.zeros((0, 3))
    for k in range(len(pair)):
        points = np.concatenate([anchors, placed])
        distance = np.concatenate([satellite[k], pair[k, :k]])
        weight = np.concatenate([satellite_weight[k], pair_weight[k, :k]])

        def value(x, points=points, distance=distance, weight=weight):
            away = x - points
            between = np.maximum(np.sqrt((away**2).sum(axis=1)), 1e-9)
            error = between - distance
            return np.vdot(weight * error, error), 2 * (weight * error / between) @ away

        start = closed_form(distance, weight, points)
        found = scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B").x
        placed = np.concatenate([placed, found[None]])
    return placed


def closed_form(distance, weight, points) -> np.ndarray:
    """Return the linear least-squares position from distances to known points."""
    design = np.concatenate([-2 * points, np.ones((len(points), 1))], axis=1)
    known = distance**2 - (points**2).sum(axis=1)
    return np.linalg.lstsq(design * weight[:, None], known * weight, rcond=None)[0][:3]


def rmse(found: np.ndarray, given: Drawn) -> float:
    """Return the root mean square displacement over all atoms of a batch, no alignment."""
    squared = ((np.asarray(found, float) - given.positions) ** 2).sum(axis=-1) * given.presence
    return float(np.sqrt(squared.sum() / given.presence.sum()))


def least_error(given: Drawn, noise: float, *, count: int) -> float:
    r"""Return the Cramér-Rao bound of the RMSE over the first structures, $\sqrt{\mathrm{tr} J^{-1} / N}$.

    $J = \sum u u^T / \sigma^2$ over the pairs and satellites that are there, u the unit vectors along them.
    """
    traces = 0.0
    for k in range(count):
        there = given.presence[k] > 0
        x, atoms = given.positions[k][there], int(there.sum())
        pair = np.ones((atoms, atoms)) if given.pair_weight is None else given.pair_weight[k][there][:, there]
        seen = np.ones((atoms, len(given.anchors)))
        seen = seen if given.satellite_weight is None else given.satellite_weight[k][there]
        among, to = _projectors(x, x) * pair[..., None, None], _projectors(x, given.anchors) * seen[..., None, None]
        information = -among
        information[np.arange(atoms), np.arange(atoms)] = among.sum(axis=1) + to.sum(axis=1)
        information = information.transpose(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)
        traces += noise**2 * np.trace(np.linalg.inv(information))
    return float(np.sqrt(traces / given.presence[:count].sum()))


def _projectors(positions, points):
    away = positions[:, None] - points
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    unit = away / np.where(length > 0, length, 1.0)
    return unit[..., :, None] * unit[..., None, :]


def _symmetric(values: np.ndarray) -> np.ndarray:
    upper = np.triu(values, 1)
    return upper + np.swapaxes(upper, -1, -2)
