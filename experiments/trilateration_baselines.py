"""Functions for the experiments on trilateration: random distances, SciPy's solutions, and the Cramér-Rao bound.

Lengths are in units of the particle's radius.
"""

from typing import NamedTuple

import numpy as np
import scipy.optimize
from ase.cluster.cubic import FaceCenteredCubic

from jaxstruc.clusters.fcc_shapes import fcc_family
from jaxstruc.network.cvae import representation

MISSING_SHARE, OUTLIER_SHARE = 0.1, 0.05
"""Share of missing distances, and share of distances that are replaced by a random number between 0 and 2 radii."""
ROBUST_TUNING = 4.685
"""Scale of the robust loss divided by the noise, for an efficiency of 95 % (Beaton and Tukey (1974))."""
MIN_ROBUST_SCALE = 0.02
"""Smallest scale of the robust loss, for distances without noise, in units of the radius."""


class DistanceBatch(NamedTuple):
    """The distances of a batch of structures in double precision, with the true positions."""

    positions: np.ndarray
    pair: np.ndarray
    satellite: np.ndarray
    presence: np.ndarray
    anchors: np.ndarray
    pair_weight: np.ndarray | None
    satellite_weight: np.ndarray | None
    scale: float | None


def ball_positions(atoms: int) -> np.ndarray:
    """Return the `atoms` fcc sites nearest to a centre, scaled to the unit sphere."""
    lattice = FaceCenteredCubic("Au", [(1, 0, 0), (1, 1, 0), (1, 1, 1)], [9, 9, 9], latticeconstant=1.0).positions
    lattice = lattice - lattice.mean(axis=0)
    nearest_sites = np.argsort(np.linalg.norm(lattice, axis=1).round(6), kind="stable")[:atoms]
    return on_unit_sphere(lattice[nearest_sites])


def on_unit_sphere(positions: np.ndarray) -> np.ndarray:
    """Return positions with the most central atom at the origin and the farthest at distance 1."""
    centred_positions = positions - positions.mean(axis=0)
    centred_positions = (
        centred_positions - centred_positions[np.argmin(np.linalg.norm(centred_positions, axis=1).round(6))]
    )
    return centred_positions / np.linalg.norm(centred_positions, axis=1).max()


def fcc_positions() -> list[np.ndarray]:
    """Return the eight fcc shapes of fewer than 100 atoms on the unit sphere."""
    return [on_unit_sphere(cluster.positions) for cluster in fcc_family()]


def draw_distances(
    shapes: list[np.ndarray],
    rng: np.random.Generator,
    *,
    count: int,
    satellites: int,
    noise: float,
    case: str,
    atoms: int | None = None,
) -> DistanceBatch:
    """Return the distances of `count` randomly rotated structures, padded to `atoms` or to the largest structure.

    The shapes are used in turn. Each pair distance and each satellite distance has a Gaussian error. Negative distances
    are set to zero. Missing distances are NaN with weight 0. Outliers are uniform between 0 and 2.
    """
    atoms = atoms or max(map(len, shapes))
    anchors = representation.satellites(satellites)
    positions, presence = np.zeros((count, atoms, 3)), np.zeros((count, atoms))
    for index in range(count):
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        rotated_positions = shapes[index % len(shapes)] @ rotation
        positions[index, : len(rotated_positions)], presence[index, : len(rotated_positions)] = rotated_positions, 1.0
    pair = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    satellite = np.linalg.norm(positions[:, :, None] - anchors, axis=-1)
    pair = np.maximum(pair + noise * _symmetric(rng.normal(size=pair.shape)), 0.0)
    satellite = np.maximum(satellite + noise * rng.normal(size=satellite.shape), 0.0)
    pair_weight = satellite_weight = scale = None
    if case == "missing":
        pair_weight = (_symmetric(rng.uniform(size=pair.shape)) >= MISSING_SHARE) * 1.0
        satellite_weight = (rng.uniform(size=satellite.shape) >= MISSING_SHARE) * 1.0
        pair, satellite = np.where(pair_weight, pair, np.nan), np.where(satellite_weight, satellite, np.nan)
    if case == "outliers":
        is_outlier = _symmetric(rng.uniform(size=pair.shape)) < OUTLIER_SHARE
        pair = np.where(is_outlier, _symmetric(rng.uniform(0, 2, size=pair.shape)), pair)
        is_outlier = rng.uniform(size=satellite.shape) < OUTLIER_SHARE
        satellite = np.where(is_outlier, rng.uniform(0, 2, size=satellite.shape), satellite)
        scale = max(ROBUST_TUNING * noise, MIN_ROBUST_SCALE)
    return DistanceBatch(positions, pair, satellite, presence, anchors, pair_weight, satellite_weight, scale)


def unpadded_inputs(distances: DistanceBatch):
    """Yield the arguments of `solve_jointly` and `solve_sequentially` for each structure, without its padding."""
    for index, presence in enumerate(distances.presence):
        is_atom = presence > 0
        pair, satellite = distances.pair[index][is_atom][:, is_atom], distances.satellite[index][is_atom]
        is_known_pair, is_known_satellite = np.isfinite(pair), np.isfinite(satellite)
        # A missing distance has weight 0. The value 0 in its place keeps the sums finite.
        yield (
            np.where(is_known_pair, pair, 0.0),
            np.where(is_known_satellite, satellite, 0.0),
            distances.anchors,
            is_known_pair * 1.0,
            is_known_satellite * 1.0,
        )


def solve_jointly(pair, satellite, anchors, pair_weight, satellite_weight) -> np.ndarray:
    """Return the positions of all atoms together, by L-BFGS-B with squared residuals and a closed-form start."""
    weight = pair_weight * (1 - np.eye(len(pair)))

    def value(positions):
        positions = positions.reshape(-1, 3)
        squared_norms = (positions**2).sum(axis=1)
        total, gradient = 0.0, 0.0
        terms = (
            (positions, squared_norms, pair, weight, 0.5),
            (anchors, (anchors**2).sum(axis=1), satellite, satellite_weight, 1.0),
        )
        for points, point_norms, distance, term_weight, factor in terms:
            model_distance = np.sqrt(np.maximum(squared_norms[:, None] + point_norms - 2 * positions @ points.T, 1e-12))
            error = model_distance - distance
            force = term_weight * error / model_distance
            total += factor * np.vdot(term_weight * error, error)
            gradient = gradient + 2 * (positions * force.sum(axis=1)[:, None] - force @ points)
        return total, gradient.ravel()

    start = np.stack(
        [linear_position(*row) for row in zip(satellite, satellite_weight, [anchors] * len(pair), strict=True)]
    )
    return scipy.optimize.minimize(value, start.ravel(), jac=True, method="L-BFGS-B").x.reshape(-1, 3)


def solve_sequentially(pair, satellite, anchors, pair_weight, satellite_weight) -> np.ndarray:
    """Return the positions of atoms placed one after another by L-BFGS-B, given satellites and the atoms placed before.

    This follows KDD 2020, section 4.2. Squared residuals, the analytic gradient and a closed-form start make it faster
    than the published code.
    """
    placed_positions = np.zeros((0, 3))
    for atom in range(len(pair)):
        points = np.concatenate([anchors, placed_positions])
        distance = np.concatenate([satellite[atom], pair[atom, :atom]])
        weight = np.concatenate([satellite_weight[atom], pair_weight[atom, :atom]])

        def value(position, points=points, distance=distance, weight=weight):
            separation = position - points
            model_distance = np.maximum(np.sqrt((separation**2).sum(axis=1)), 1e-9)
            error = model_distance - distance
            return np.vdot(weight * error, error), 2 * (weight * error / model_distance) @ separation

        start = linear_position(distance, weight, points)
        solution = scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B").x
        placed_positions = np.concatenate([placed_positions, solution[None]])
    return placed_positions


def linear_position(distance, weight, points) -> np.ndarray:
    """Return the linear least-squares position from distances to known points."""
    design = np.concatenate([-2 * points, np.ones((len(points), 1))], axis=1)
    right_hand_side = distance**2 - (points**2).sum(axis=1)
    return np.linalg.lstsq(design * weight[:, None], right_hand_side * weight, rcond=None)[0][:3]


def rmse(positions: np.ndarray, distances: DistanceBatch) -> float:
    """Return the root mean square displacement over all atoms of a batch, without alignment."""
    squared_errors = ((np.asarray(positions, float) - distances.positions) ** 2).sum(axis=-1) * distances.presence
    return float(np.sqrt(squared_errors.sum() / distances.presence.sum()))


def cramer_rao_rmse(distances: DistanceBatch, noise: float, *, count: int) -> float:
    r"""Return the Cramér-Rao bound of the RMSE over the first structures, $\sqrt{\mathrm{tr} J^{-1} / N}$.

    The Fisher information is $J = \sum u u^T / \sigma^2$ over the known distances to atoms and satellites, with unit
    vectors u along the distances and the standard deviation $\sigma$ of their errors.
    """
    traces = 0.0
    for index in range(count):
        is_atom = distances.presence[index] > 0
        positions, atoms = distances.positions[index][is_atom], int(is_atom.sum())
        pair = (
            np.ones((atoms, atoms))
            if distances.pair_weight is None
            else distances.pair_weight[index][is_atom][:, is_atom]
        )
        satellite_weight = np.ones((atoms, len(distances.anchors)))
        satellite_weight = (
            satellite_weight if distances.satellite_weight is None else distances.satellite_weight[index][is_atom]
        )
        pair_terms, satellite_terms = (
            _projectors(positions, positions) * pair[..., None, None],
            _projectors(positions, distances.anchors) * satellite_weight[..., None, None],
        )
        information = -pair_terms
        information[np.arange(atoms), np.arange(atoms)] = pair_terms.sum(axis=1) + satellite_terms.sum(axis=1)
        information = information.transpose(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)
        traces += noise**2 * np.trace(np.linalg.inv(information))
    return float(np.sqrt(traces / distances.presence[:count].sum()))


def _projectors(positions, points):
    separation = positions[:, None] - points
    length = np.linalg.norm(separation, axis=-1, keepdims=True)
    unit = separation / np.where(length > 0, length, 1.0)
    return unit[..., :, None] * unit[..., None, :]


def _symmetric(values: np.ndarray) -> np.ndarray:
    upper = np.triu(values, 1)
    return upper + np.swapaxes(upper, -1, -2)
