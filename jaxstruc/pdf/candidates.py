"""Candidates of any source, fitted alike: in batches of one size, with one compilation for files of the same span."""

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
from jaxstruc.scattering import cluster_tables as templates
from jaxstruc.scattering.cluster_tables import ClusterTable

BATCH_SIZE, ACCELERATOR_BATCH_SIZE, MIN_BATCH_SIZE = 64, 512, 16
"""Candidates fitted at once, which a processor's cache holds; on accelerators; and where there are few, at least."""


class CandidateGroup(NamedTuple):
    """Clusters of one source that may be behind a measurement."""

    source: str
    """network, library or file."""
    library: Library
    rows: np.ndarray
    """[candidate] indices into the library."""
    faults: Mapping[int, str] = MappingProxyType({})
    """What is wrong with some, by their place; they rank last."""
    notes: Mapping[str, np.ndarray] = MappingProxyType({})
    """More that the source knows of each candidate, by name."""
    range_warnings: Callable[[float], tuple[str, ...]] = lambda size: ()
    """What lies outside that which the source knows, in words, where the particle has a diameter in Å."""
    max_atoms: int = 0
    """Most atoms that could have been found, where that is a choice; 0 where it is not."""

    def cluster(self, index: int) -> Cluster:
        """Return one cluster."""
        return library.candidate_cluster(self.library, int(self.rows[index]))


class CandidatePool(NamedTuple):
    """Candidates of several sources as one list."""

    groups: tuple[CandidateGroup, ...]
    group: np.ndarray
    """[candidate] which group it is of."""
    group_row: np.ndarray
    """[candidate] its place in the group."""

    def select(self, indices: np.ndarray) -> "CandidatePool":
        """Return some of the candidates, in that order."""
        return self._replace(group=self.group[indices], group_row=self.group_row[indices])

    def entry(self, index: int) -> tuple[Library, int]:
        """Return a candidate's library and index."""
        group = self.groups[self.group[index]]
        return group.library, int(group.rows[self.group_row[index]])

    @property
    def has_fault(self) -> np.ndarray:
        """[candidate] whether something is wrong with it."""
        return np.array(
            [
                int(row) in self.groups[group_index].faults
                for group_index, row in zip(self.group, self.group_row, strict=True)
            ],
            bool,
        )

    @property
    def families(self) -> np.ndarray:
        """[candidate] the rule that lists it."""
        return self._column(lambda group: group.library.families[group.rows])

    @property
    def atoms(self) -> np.ndarray:
        """[candidate] numbers of atoms."""
        return self._column(lambda group: group.library.atoms[group.rows])

    @property
    def diameter(self) -> np.ndarray:
        """[candidate] largest distance, in bonds."""
        return self._column(lambda group: group.library.diameter[group.rows])

    def _column(self, get_column: Callable[[CandidateGroup], np.ndarray]) -> np.ndarray:
        columns = [get_column(group) for group in self.groups]
        starts = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
        return np.concatenate(columns)[starts[self.group] + self.group_row]


def candidate_pool(groups: Sequence[CandidateGroup]) -> CandidatePool:
    """Return the candidates of several sources together."""
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
    """Return the fits of all candidates, on the host.

    Args:
        pool: at least one.
        target: the data.
        free: what is fitted.
        progress: called with candidates done and in all.
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
    """Return the candidates' tables, as fits need them, with a leading axis.

    Args:
        pool: at least one.
        target: the data.
        min_size: of the axis at least; further rows repeat the last candidate.
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
    """Return the fits of candidates whose tables are made, on the host; those of padding too."""
    return jax.tree.map(np.asarray, _refine_all(cluster_tables, target.basis, free=free))


def select_rows(arrays, indices):
    """Return some rows of arrays that share their first axis, in any tree."""
    return jax.tree.map(lambda array: array[indices], arrays)


def concatenate(first, second):
    """Return arrays one after another along their first axis, in any tree."""
    return jax.tree.map(
        lambda first_array, second_array: np.concatenate([np.asarray(first_array), np.asarray(second_array)]),
        first,
        second,
    )


def _batch_size(n_candidates: int) -> int:
    """Return the size of a batch for so many candidates."""
    max_size = BATCH_SIZE if jax.default_backend() == "cpu" else ACCELERATOR_BATCH_SIZE
    return min(max_size, max(MIN_BATCH_SIZE, 1 << (n_candidates - 1).bit_length()))


@jax.jit
def _cluster_tables(histograms: Histogram, basis: FitBasis) -> ClusterTable:
    return jax.vmap(lambda histogram: templates.tabulate_cluster(histogram, basis.bond, span=basis.span))(histograms)


@partial(jax.jit, static_argnames="free")
def _refine_all(cluster_tables: ClusterTable, basis: FitBasis, *, free: tuple[str, ...]) -> Fit:
    return fit.refine_all(cluster_tables, basis, free=free)
