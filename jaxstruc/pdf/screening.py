r"""Approximate Rw of all candidates, and an estimate of the particle's size from G(r).

Only the candidates with the smallest approximate Rw are fitted. The distances of all candidates are counted in bins of
equal width, so that the curves of all candidates are one matrix product $C = H K$. A row of H contains the numbers of
pairs of one candidate in the bins, per atom. A row of K is the curve of a pair of atoms at the distance of a bin, in
the compact basis of the data (`pdf.target`). Trial values of stretch and Uiso are compared. One Gauss-Newton step in
stretch, Uiso and delta2 then starts from the best trial values.
"""

import math
import threading
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.clusters.library import BIN_WIDTH, Library
from jaxstruc.parameters import PARAMETERS
from jaxstruc.pdf.fit import START_STRETCH_FACTORS, FitValues
from jaxstruc.pdf.target import STRETCH_BOUNDS, FitBasis
from jaxstruc.scattering import debye
from jaxstruc.scattering.cluster_tables import MIN_DISTANCE, TableRange
from jaxstruc.scattering.debye import Instrument

MAX_FITTED, MAX_FITTED_BY_CLASSIFIER = 1500, 300
"""Largest number of candidates of a source that are fitted without a classifier; largest number with a classifier."""
MAX_HOLDOUT_CANDIDATES = 5000
"""Largest number of library candidates that are screened for each cut of the cross-validation."""
TRIAL_UISO = (0.006, 0.018)
"""Trial values of Uiso, in Å²."""
MAX_GAUSS_NEWTON_STEP = (0.012, 1.2, 0.24)
"""Largest Gauss-Newton step in stretch, in Uiso (relative to its value) and in delta2 (in squared bond lengths)."""
RIDGE = 1e-6
"""Ridge parameter of the normal equations, relative to their first diagonal element."""
CHUNK_SIZE = 1024
"""Number of candidates in one compiled call."""
SMOOTHING_LENGTH = 1.0
"""Length in Å over which the squared G(r) is averaged for the estimate of the particle's size. It applies to a bond
length of 2.8 Å and is scaled with the bond length."""


class FitLimits(NamedTuple):
    """Largest numbers of candidates of a source that are fitted."""

    without_classifier: int = MAX_FITTED
    """Largest number if no prediction of a classifier is used."""
    with_classifier: int = MAX_FITTED_BY_CLASSIFIER
    """Largest number if the prediction of a classifier is used."""


class BinnedDistances(NamedTuple):
    """Histograms of the distances of candidates in bins of equal width, as one matrix."""

    rows: np.ndarray
    """[candidate] Index of each candidate in the library."""
    pairs_per_atom: Float[Array, "candidate bin"]
    """Number of pairs per atom in each bin. The bins are at multiples of `library.BIN_WIDTH` bond lengths. Rows beyond
    the last candidate are padding."""


def binned_distances(library: Library, rows: np.ndarray, *, bond: float, span: TableRange) -> BinnedDistances:
    """Return the histograms of the distances of candidates.

    Each bin of the library is divided among three neighbouring bins, so that the number, the mean and the variance of
    its distances are unchanged.

    Args:
        library: Library of the candidates.
        rows: Indices of the candidates in the library.
        bond: Nearest-neighbour distance, in Å.
        span: Range of distances and Q that tables of clusters cover.
    """
    n_bins = 16 * math.ceil((span.max_distance / bond / BIN_WIDTH + 2) / 16)
    cluster_index = np.repeat(np.arange(len(library.atoms)), np.diff(library.bin_starts))
    candidate_row = np.full(len(library.atoms), -1)
    candidate_row[rows] = np.arange(len(rows))
    bin_index = np.rint(library.mean / BIN_WIDTH).astype(np.intp)
    selected_bins = np.flatnonzero(
        (candidate_row[cluster_index] >= 0) & (library.mean * bond < span.max_distance) & (bin_index < n_bins - 1)
    )
    cluster_index, bin_index = cluster_index[selected_bins], bin_index[selected_bins]
    offset = library.mean[selected_bins] / BIN_WIDTH - bin_index
    second_moment = offset**2 + library.variance[selected_bins] / BIN_WIDTH**2
    weight = library.weight[selected_bins] / library.atoms[cluster_index]
    histograms = np.zeros(CHUNK_SIZE * math.ceil(len(rows) / CHUNK_SIZE) * n_bins, np.float32)
    flat_index = candidate_row[cluster_index] * n_bins + bin_index
    for shift, fraction in (
        (0, 1 - second_moment),
        (1, (second_moment + offset) / 2),
        (-1, (second_moment - offset) / 2),
    ):
        histograms[flat_index + shift] += (weight * fraction).astype(np.float32)  # no index occurs twice
    return BinnedDistances(np.asarray(rows), jnp.asarray(histograms.reshape(-1, n_bins)))


def approximate_rw(
    distances: BinnedDistances, basis: FitBasis, *, excluded_curves: Float[np.ndarray, "basis wave"] | None = None
) -> Float[np.ndarray, " candidate"]:
    """Return the approximate Rw of each candidate's fit.

    Args:
        distances: Binned distances of the candidates.
        basis: Measured data in their compact basis.
        excluded_curves: Orthonormal curves that are projected out of data and model. By default there are none.
    """
    projected_curves = np.zeros((basis.data.shape[0], 0)) if excluded_curves is None else excluded_curves
    excluded_basis = jnp.asarray(np.pad(projected_curves, ((0, 0), (0, -projected_curves.shape[1] % 16))), jnp.float32)
    trial_values, n_candidates = np.asarray(_trial_values(basis)), len(distances.rows)
    explained_by_trial = np.asarray(_scan_trials(distances.pairs_per_atom, basis, excluded_basis, trial_values))[
        :, :n_candidates
    ]
    best_trial, explained_squares = explained_by_trial.argmax(axis=0), explained_by_trial.max(axis=0)
    for trial in np.unique(best_trial):
        rows = np.flatnonzero(best_trial == trial)
        for start in range(0, len(rows), CHUNK_SIZE):
            chunk_rows = rows[start : start + CHUNK_SIZE]
            padded_rows = np.concatenate([chunk_rows, np.full(CHUNK_SIZE - len(chunk_rows), chunk_rows[-1])])
            stepped_squares = np.asarray(
                _gauss_newton_squares(
                    jnp.take(distances.pairs_per_atom, padded_rows, axis=0), basis, excluded_basis, trial_values[trial]
                )
            )
            explained_squares[chunk_rows] = np.maximum(
                explained_squares[chunk_rows], stepped_squares[: len(chunk_rows)]
            )
    data = np.asarray(basis.data, float)
    data = data - projected_curves @ (projected_curves.T @ data)
    residual_squares = data @ data + float(basis.unmodelled_squares) - explained_squares
    return np.sqrt(np.maximum(residual_squares, 0.0) / float(basis.norm))


def gauss_newton_rw(distances: BinnedDistances, basis: FitBasis, values: FitValues) -> Float[np.ndarray, " candidate"]:
    """Return the approximate Rw of each candidate's fit after one Gauss-Newton step from given values.

    Args:
        distances: Binned distances of the candidates.
        basis: Measured data in their compact basis.
        values: Fitted values of a similar cluster. Only stretch, Uiso and delta2 are used.
    """
    n_candidates, no_curves = len(distances.rows), np.zeros((basis.data.shape[0], 0), np.float32)
    start_values = np.array([values.stretch, values.uiso, values.delta2], np.float32)
    chunk_starts = range(0, len(distances.pairs_per_atom), CHUNK_SIZE)
    explained_squares = np.concatenate(
        [
            np.asarray(
                _gauss_newton_squares(
                    distances.pairs_per_atom[start : start + CHUNK_SIZE], basis, no_curves, start_values
                )
            )
            for start in chunk_starts
        ]
    )[:n_candidates]
    data = np.asarray(basis.data, float)
    return np.sqrt(
        np.maximum(data @ data + float(basis.unmodelled_squares) - explained_squares, 0.0) / float(basis.norm)
    )


class BinnedLibraries:
    """Binned distances of whole libraries, which the files of a run share. Several threads may use one object."""

    def __init__(self) -> None:
        """Create an object without libraries."""
        self._distances: dict[tuple[int, float, TableRange], BinnedDistances] = {}
        self._lock = threading.Lock()

    def find(self, library: Library, rows: np.ndarray, *, bond: float, span: TableRange) -> BinnedDistances:
        """Return the binned distances of the clusters of a library, which are computed once for each range.

        Args:
            library: Library of the clusters, which must exist as long as this object.
            rows: Library rows of the clusters, the same in each call.
            bond: Nearest-neighbour distance, in Å.
            span: Range of distances and Q.
        """
        key = id(library), bond, span
        with self._lock:
            if key not in self._distances:
                self._distances[key] = binned_distances(library, rows, bond=bond, span=span)
            return self._distances[key]


def select_candidates(distances: BinnedDistances, rows: np.ndarray) -> BinnedDistances:
    """Return the binned distances of the candidates with the given library rows."""
    selected_rows = np.flatnonzero(np.isin(distances.rows, rows))
    # a power of 2 limits the number of compilations
    n_chunks = 1 << (math.ceil(max(len(selected_rows), 1) / CHUNK_SIZE) - 1).bit_length()
    padded_rows = np.pad(
        selected_rows, (0, min(n_chunks * CHUNK_SIZE, len(distances.pairs_per_atom)) - len(selected_rows)), mode="edge"
    )
    return BinnedDistances(distances.rows[selected_rows], jnp.take(distances.pairs_per_atom, padded_rows, axis=0))


def best_rows(distances: BinnedDistances, rw: Float[np.ndarray, " candidate"], *, count: int) -> np.ndarray:
    """Return the library rows of the candidates with the smallest Rw, in rising order of the rows.

    Args:
        distances: Binned distances of the candidates.
        rw: Approximate Rw of each candidate.
        count: Number of candidates to return.
    """
    return np.sort(distances.rows[np.argsort(rw, kind="stable")[:count]])


class DiameterEstimate(NamedTuple):
    """Estimate of a particle's diameter from the decay of the squared G(r)."""

    diameter: float
    """Diameter of the particle, in Å."""
    data_cover_particle: bool
    """Whether the data reach at least 2 Å beyond the diameter."""
    signal_end: float
    """Distance r in Å at which the signal falls below the noise."""


def diameter_estimate(r: np.ndarray, g: np.ndarray, *, bond: float, qdamp: float) -> DiameterEstimate:
    r"""Return the diameter of the particle, and the r at which the signal falls below the noise.

    The squared G(r) of a sphere of diameter D decays as $[\gamma(r) \exp(-r^2 Q_{damp}^2 / 2)]^2$ to a level of white
    noise. Here $\gamma(r) = 1 - 3r/2D + r^3/2D^3$ is the characteristic function of the sphere (A. Guinier, G. Fournet,
    Small-Angle Scattering of X-rays, Wiley, 1955). The returned D and the noise level minimize the squared differences
    between the logarithms of the squared G(r) and of this model.

    Args:
        r: Points of r, in Å.
        g: Measured G(r), in 1/Å².
        bond: Nearest-neighbour distance, in Å.
        qdamp: Damping of G(r) by the resolution, in 1/Å.
    """
    in_range = r > 0.8 * bond
    step = (r[-1] - r[0]) / (len(r) - 1)
    window = np.hanning(2 * max(1, round(SMOOTHING_LENGTH * bond / 2.8 / step)) + 1)
    stride = max(1, int(0.1 * SMOOTHING_LENGTH / step))
    power = np.convolve(g[in_range] ** 2, window / window.sum(), "same")[::stride]
    sampled_r = r[in_range][::stride]
    power = np.maximum(power, 1e-6 * power.max())
    best_estimate, signal_end = (math.inf, 0.0), float(sampled_r[-1])
    for diameter in np.arange(2 * bond, 1.5 * sampled_r[-1], 0.25):
        gamma = np.clip(1 - 1.5 * sampled_r / diameter + 0.5 * (sampled_r / diameter) ** 3, 0, None) * (
            sampled_r < diameter
        )
        decay = (gamma * np.exp(-0.5 * (sampled_r * qdamp) ** 2)) ** 2
        for noise_level in (0.0, *np.geomspace(1e-4, 0.3, 12)):
            log_model = np.log(decay + noise_level + 1e-6)
            misfit = float(np.var(np.log(power) - log_model))
            if misfit < best_estimate[0]:
                best_estimate, signal_rows = (misfit, float(diameter)), np.flatnonzero(decay > max(noise_level, 1e-6))
                signal_end = float(sampled_r[signal_rows[-1]]) if len(signal_rows) else float(sampled_r[0])
    return DiameterEstimate(best_estimate[1], bool(best_estimate[1] < sampled_r[-1] - 2.0), signal_end)


@jax.jit
def _trial_values(basis: FitBasis) -> Float[Array, "try 3"]:
    """Return the combinations of trial values of stretch and Uiso, with the typical value of delta2."""
    stretch = jnp.clip(
        basis.stretch * jnp.asarray(START_STRETCH_FACTORS), STRETCH_BOUNDS[0] + 0.005, STRETCH_BOUNDS[1] - 0.005
    )
    delta2 = PARAMETERS["delta2"].start * basis.bond**2
    return jnp.stack(
        [
            jnp.stack([trial_stretch, jnp.asarray(uiso, trial_stretch.dtype), delta2])
            for uiso in TRIAL_UISO
            for trial_stretch in stretch
        ]
    )


def _pair_curves(values: Float[Array, " 3"], basis: FitBasis, excluded_basis, n_bins: int) -> Float[Array, "bin basis"]:
    """Return the curve of a pair of atoms at the distance of each bin, in the compact basis of the data."""
    stretch, uiso, delta2 = values
    distance = jnp.maximum(jnp.arange(n_bins) * (BIN_WIDTH * basis.bond), MIN_DISTANCE)
    variance_factor = debye.variance_factor(Instrument(delta2=delta2, qbroad=basis.qbroad), distance * stretch)
    debye_waller = jnp.exp(-uiso * basis.q**2 * jnp.maximum(variance_factor, 0.0)[:, None])
    f = debye_waller * jnp.sin(basis.q * (distance * stretch)[:, None]) / (distance * stretch)[:, None]
    curve = jnp.matmul(f, basis.transform, precision="highest") * jnp.exp(-0.5 * (basis.radius * basis.qdamp) ** 2)
    curve -= (curve @ basis.background_basis) @ basis.background_basis.T
    return curve - (curve @ excluded_basis) @ excluded_basis.T


def _self_scattering(basis: FitBasis, excluded_basis) -> Float[Array, " basis"]:
    """Return the curve of single atoms, which is the same for all candidates."""
    return basis.self_scattering - excluded_basis @ (excluded_basis.T @ basis.self_scattering)


def _explained_squares(
    curve: Float[Array, "*batch basis"], data: Float[Array, " basis"], basis: FitBasis
) -> Float[Array, "*batch"]:
    """Return the decrease of the sum of squares if a curve is fitted with its best scale within the bounds."""
    squared_norm, projection = jnp.sum(curve**2, axis=-1), curve @ data
    scale = jnp.clip(projection / jnp.where(squared_norm > 0, squared_norm, 1.0), *basis.scale_bounds)
    return scale * (2 * projection - scale * squared_norm)


@jax.jit
def _scan_trials(weight, basis: FitBasis, excluded_basis, trial_values) -> Float[Array, "try candidate"]:
    """Return the decrease of the sum of squares for each combination of trial values and each candidate."""
    data = basis.data - excluded_basis @ (excluded_basis.T @ basis.data)

    def explained_squares(values):
        pairs = weight @ _pair_curves(values, basis, excluded_basis, weight.shape[1])
        return _explained_squares(pairs + _self_scattering(basis, excluded_basis), data, basis)

    return jax.lax.map(explained_squares, trial_values)


@jax.jit
def _gauss_newton_squares(weight, basis: FitBasis, excluded_basis, values) -> Float[Array, " candidate"]:
    """Return the decrease of the sum of squares for each candidate after one Gauss-Newton step."""
    data = basis.data - excluded_basis @ (excluded_basis.T @ basis.data)
    pair_curves = partial(_pair_curves, basis=basis, excluded_basis=excluded_basis, n_bins=weight.shape[1])
    max_step = jnp.asarray(MAX_GAUSS_NEWTON_STEP) * jnp.stack([jnp.ones(()), values[1], basis.bond**2])
    curves_and_slopes = jnp.concatenate(
        [pair_curves(values)[None], jnp.moveaxis(jax.jacfwd(pair_curves)(values) * max_step, -1, 0)]
    )
    design = jnp.moveaxis(jnp.einsum("nk,ikb->inb", weight, curves_and_slopes), 0, 1)
    design = design.at[:, 0].add(_self_scattering(basis, excluded_basis))
    normal_matrix = jnp.einsum("nib,njb->nij", design, design)
    normal_matrix += RIDGE * normal_matrix[:, :1, :1] * jnp.eye(normal_matrix.shape[1])
    solution = jnp.linalg.solve(normal_matrix, (design @ data)[..., None])[..., 0]
    step = jnp.clip(solution[:, 1:] / jnp.maximum(solution[:, :1], 1e-9), -1.0, 1.0)
    return _explained_squares(design[:, 0] + jnp.einsum("ni,nib->nb", step, design[:, 1:]), data, basis)
