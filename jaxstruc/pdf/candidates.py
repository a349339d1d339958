"""Lists of candidate clusters from all sources, and their fits to one measured G(r).

A candidate is a cluster that may explain a measurement. Its source is a network, a library or the user's files. All
candidates are fitted with the same functions, in batches of a fixed size. Measurements with equal ranges of r and Q
therefore share one compilation.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from jaxstruc.clusters import library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import Histogram
from jaxstruc.clusters.library import Library
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import fit
from jaxstruc.pdf.fit import Fit
from jaxstruc.pdf.target import FitBasis, Target
from jaxstruc.scattering.cluster_tables import ClusterTable, tabulate_cluster

BATCH_SIZE, ACCELERATOR_BATCH_SIZE, MIN_BATCH_SIZE = 64, 512, 16
"""Largest batch size on a CPU, largest batch size on an accelerator, and smallest batch size. The candidates of a batch
are fitted at once. A batch on a CPU is small enough for the cache of the processor."""


class CandidateGroup(NamedTuple):
    """Candidates of one source for one measurement."""

    source: str
    """Name of the source: "network", "library", "file" (the user's files) or "search" (a search over lattice sites)."""
    library: Library
    rows: np.ndarray
    """[candidate] Index of each candidate in the library."""
    invalid_reasons: Mapping[int, str] = MappingProxyType({})
    """Description of the fault of each faulty candidate, by the candidate's position in the group. Faulty candidates
    rank last."""
    notes: Mapping[str, np.ndarray] = MappingProxyType({})
    """Further numbers that the source provides for the candidates: one array [candidate] for each name."""
    training_warnings: Callable[[float], tuple[str, ...]] = lambda size: ()
    """Function that takes the diameter of the particle in Å. It returns warnings if the data lie outside the range on
    which the network of the source was trained."""
    remarks: tuple[str, ...] = ()
    """Remarks on the files of the source, e.g. that pieces of a cluster were joined."""
    max_atoms: int = 0
    """Largest number of atoms that the user allows for the clusters of the source; 0 if there is no limit."""

    def cluster(self, index: int) -> Cluster:
        """Return the cluster of the candidate at the position `index` of the group."""
        return library.candidate_cluster(self.library, int(self.rows[index]))


class CandidatePool(NamedTuple):
    """Candidates of several sources as one list."""

    groups: tuple[CandidateGroup, ...]
    group_index: np.ndarray
    """[candidate] Index of the candidate's group."""
    group_row: np.ndarray
    """[candidate] Position of the candidate in its group."""

    def select(self, indices: np.ndarray) -> "CandidatePool":
        """Return the candidates at the given indices, in the order of the indices."""
        return self._replace(group_index=self.group_index[indices], group_row=self.group_row[indices])

    def entry(self, index: int) -> tuple[Library, int]:
        """Return the library that contains a candidate, and the index of the candidate in that library."""
        group = self.groups[self.group_index[index]]
        return group.library, int(group.rows[self.group_row[index]])

    @property
    def is_invalid(self) -> np.ndarray:
        """[candidate] Whether the source reports a fault of the candidate."""
        return np.array(
            [
                int(row) in self.groups[group_index].invalid_reasons
                for group_index, row in zip(self.group_index, self.group_row, strict=True)
            ],
            bool,
        )

    @property
    def families(self) -> np.ndarray:
        """[candidate] Family of the candidate in its library, e.g. "fcc"."""
        return self._column(lambda group: group.library.families[group.rows])

    @property
    def n_atoms(self) -> np.ndarray:
        """[candidate] Number of atoms."""
        return self._column(lambda group: group.library.atoms[group.rows])

    @property
    def diameter(self) -> np.ndarray:
        """[candidate] Longest distance between atoms, in units of the bond length."""
        return self._column(lambda group: group.library.diameter[group.rows])

    def _column(self, get_column: Callable[[CandidateGroup], np.ndarray]) -> np.ndarray:
        columns = [get_column(group) for group in self.groups]
        starts = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
        return np.concatenate(columns)[starts[self.group_index] + self.group_row]


class FittedCandidates(NamedTuple):
    """Candidates and their fits, best first."""

    pool: CandidatePool
    fits: Fit


class WeightedCandidates(NamedTuple):
    """Candidates, their fits and their weights, best first."""

    pool: CandidatePool
    fits: Fit
    weight: np.ndarray
    """[candidate] Posterior weight of each candidate. The weights sum to 1."""
    effective_points: float
    """Effective number of independent points of the data, estimated from the residual of the best fit."""


def candidate_pool(groups: Sequence[CandidateGroup]) -> CandidatePool:
    """Return the candidates of several sources as one list."""
    group_sizes = [len(group.rows) for group in groups]
    return CandidatePool(
        tuple(groups),
        np.repeat(np.arange(len(group_sizes)), group_sizes),
        np.concatenate([np.arange(n_candidates) for n_candidates in group_sizes]) if group_sizes else np.zeros(0, int),
    )


def fit_all(
    pool: CandidatePool,
    target: Target,
    *,
    free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Return the fits of all candidates as NumPy arrays.

    Args:
        pool: Candidates, at least one.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
        progress: Function that is called with the number of fitted candidates and the number of all candidates.
    """
    batch_fits, n_candidates = [], len(pool.group_row)
    batch_size = _batch_size(n_candidates)
    for start in range(0, n_candidates, batch_size):
        batch = np.arange(start, min(start + batch_size, n_candidates))
        batch_fits.append(
            fit_cluster_tables(cluster_tables(pool.select(batch), target, min_size=batch_size), target, free=free)
        )
        if progress:
            progress(start + len(batch), n_candidates)
    fits = jax.tree.map(lambda *columns: np.concatenate(columns), *batch_fits)
    return select_rows(fits, slice(0, n_candidates))


def cluster_tables(pool: CandidatePool, target: Target, *, min_size: int = 0) -> ClusterTable:
    """Return the tabulated distances of candidates, with a leading axis of candidates.

    Args:
        pool: Candidates, at least one.
        target: Measured data and settings of the fit.
        min_size: Smallest length of the leading axis. Additional rows repeat the last candidate.
    """
    n_candidates = len(pool.group_row)
    indices = np.arange(max(min_size, n_candidates, _batch_size(n_candidates))).clip(max=n_candidates - 1)
    entries = [pool.entry(index) for index in indices]
    return _cluster_tables(
        library.scaled_histograms(entries, bond=target.bond, max_distance=target.span.max_distance), target.basis
    )


def fit_cluster_tables(
    cluster_tables: ClusterTable, target: Target, *, free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS
) -> Fit:
    """Return the fits of tabulated clusters as NumPy arrays, one for each row of the tables (also for padding rows)."""
    return jax.tree.map(np.asarray, _refine_all(cluster_tables, target.basis, free=free))


def select_fitted(fitted_candidates: FittedCandidates, rows: np.ndarray) -> FittedCandidates:
    """Return the candidates at the given rows with their fits, in the order of the rows."""
    return FittedCandidates(fitted_candidates.pool.select(rows), select_rows(fitted_candidates.fits, rows))


def select_rows(arrays, indices):
    """Return a pytree with the given rows of each array, selected along the first axis."""
    return jax.tree.map(lambda array: array[indices], arrays)


def concatenate(first, second):
    """Return a pytree with the arrays of two pytrees, concatenated along their first axis."""
    return jax.tree.map(
        lambda first_array, second_array: np.concatenate([np.asarray(first_array), np.asarray(second_array)]),
        first,
        second,
    )


def _batch_size(n_candidates: int) -> int:
    """Return the batch size for a number of candidates."""
    max_size = BATCH_SIZE if jax.default_backend() == "cpu" else ACCELERATOR_BATCH_SIZE
    return min(max_size, max(MIN_BATCH_SIZE, 1 << (n_candidates - 1).bit_length()))


@jax.jit
def _cluster_tables(histograms: Histogram, basis: FitBasis) -> ClusterTable:
    return jax.vmap(lambda histogram: tabulate_cluster(histogram, basis.bond, span=basis.span))(histograms)


@partial(jax.jit, static_argnames="free")
def _refine_all(cluster_tables: ClusterTable, basis: FitBasis, *, free: tuple[str, ...]) -> Fit:
    return fit.refine_all(cluster_tables, basis, free=free)
