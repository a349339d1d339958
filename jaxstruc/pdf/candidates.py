"""Lists of candidate clusters from all sources, and their fits to one measured G(r).

A candidate is a cluster that may explain a measurement. Its source is a network, a library or the user's files. All
candidates are fitted with the same functions, in batches of a fixed size. Measurements with equal ranges of r and Q
therefore share one compilation.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxstruc.clusters import library
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import DisplacementField, FieldStore
from jaxstruc.clusters.distances import Histogram, longest_distance
from jaxstruc.clusters.library import Library
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import fit
from jaxstruc.pdf.fit import Fit, FitValues
from jaxstruc.pdf.target import FitBasis, Target
from jaxstruc.scattering.cluster_tables import ClusterTable, TableRange, join_amplitudes, tabulate_cluster

BATCH_SIZE, TABLE_BATCH_SIZE, ACCELERATOR_BATCH_SIZE = 64, 16, 512
"""Number of candidates that one compiled call fits on a CPU; number of candidates whose tables one call computes on a
CPU; both numbers on an accelerator. Smaller batches are padded, so that there is one compilation for each."""

WIDE_AMPLITUDES = 0.5 + 1.5 * np.cos(np.pi * (np.arange(5) + 0.5) / 5)
"""Amplitudes of the displacements for which first fits tabulate the distances: the Chebyshev points of the range."""
NARROW_AMPLITUDES = 0.3 * np.cos(np.pi * (np.arange(5) + 0.5) / 5)
"""Amplitudes for accurate fits, relative to the relaxation of an earlier fit."""
MAX_TABLE_BYTES = 2**29
"""Largest memory of the tables that the files of a run share, in bytes."""
N_ACCURATE_FITS = 64
"""Number of the best candidates whose fits are repeated with accurate tables."""


class TableKey(NamedTuple):
    """Properties that determine the table of a cluster of a library."""

    row: int
    """Index of the cluster in the library."""
    bond: float
    """Nearest-neighbour distance, in Å."""
    span: TableRange
    is_relaxed: bool
    """Whether the table has several amplitudes of the displacements."""


class TableStore:
    """Tables of the clusters of one library, which the files of a run share.

    The tables of first fits do not depend on the data. If they need too much memory, the oldest ones are dropped.
    """

    def __init__(self, max_bytes: int = MAX_TABLE_BYTES) -> None:
        """Create an empty store that keeps at most `max_bytes` bytes."""
        self._tables: dict[TableKey, ClusterTable] = {}
        self._n_bytes, self._max_bytes, self._lock = 0, max_bytes, threading.Lock()

    def find(self, key: TableKey) -> ClusterTable | None:
        """Return the table of a cluster, or None if it is not in the store."""
        return self._tables.get(key)

    def keep(self, key: TableKey, table: ClusterTable) -> None:
        """Add the table of a cluster."""
        with self._lock:
            if key in self._tables:
                return
            self._tables[key] = table
            self._n_bytes += table.shell_functions.nbytes
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._tables.pop(next(iter(self._tables))).shell_functions.nbytes


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
    fields: FieldStore | None = None
    """Displacement fields of the clusters of the library; None if the clusters are rigid."""
    tables: TableStore | None = None
    """Tables of the clusters, if several files share the library."""

    def cluster(self, index: int) -> Cluster:
        """Return the ideal cluster of the candidate at the position `index` of the group."""
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

    def field(self, index: int) -> np.ndarray | None:
        """Return the displacements [atom, 3] of a candidate in bond lengths, or None if it is rigid."""
        store = self.groups[self.group_index[index]].fields
        return store.field(self.entry(index)[1]) if store else None

    def rigid_reason(self, index: int) -> str:
        """Return the reason why a candidate has no displacements; an empty text if it has some."""
        store = self.groups[self.group_index[index]].fields
        return store.reason(self.entry(index)[1]) if store else ""

    def compute_fields(self) -> None:
        """Compute the displacement fields of all candidates that are not known yet, in few batches."""
        for group_index, group in enumerate(self.groups):
            if group.fields:
                group.fields.compute(group.rows[self.group_row[self.group_index == group_index]])

    def positions(self, index: int, relaxation: float) -> np.ndarray:
        """Return the positions [atom, 3] of a candidate in bond lengths, with displacements of a given amplitude."""
        positions = library.candidate_cluster(*self.entry(index)).positions
        field = self.field(index) if relaxation else None
        return positions if field is None else positions + relaxation * field

    def longest_distance(self, index: int, relaxation: float) -> float:
        """Return the longest distance between two atoms of a candidate in bond lengths, at a given amplitude."""
        if relaxation and self.field(index) is not None:
            return longest_distance(self.positions(index, relaxation))
        cluster_library, row = self.entry(index)
        return float(cluster_library.diameter[row])

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


def joined_group(pool: CandidatePool, source: str) -> CandidateGroup:
    """Return a group with the candidates of a pool in a library of their own, in the order of the pool."""
    rows = range(len(pool.group_row))
    cluster_library = library.from_clusters(library.candidate_cluster(*pool.entry(row)) for row in rows)
    stores = [pool.groups[group_index].fields for group_index in pool.group_index]
    fields = None
    if all(stores):
        known_fields: dict[int | str, DisplacementField | str] = {
            row: store.entry(pool.entry(row)[1]) for row, store in zip(rows, stores, strict=True) if store
        }
        fields = FieldStore(cluster_library, stores[0].element, known_fields=known_fields)  # type: ignore[union-attr]
    return CandidateGroup(source, cluster_library, np.arange(len(rows)), fields=fields)


def join(first: FittedCandidates, second: FittedCandidates) -> FittedCandidates:
    """Return the candidates of two lists as one list."""
    first_pool, second_pool = first.pool, second.pool
    pool = CandidatePool(
        (*first_pool.groups, *second_pool.groups),
        np.concatenate([first_pool.group_index, len(first_pool.groups) + second_pool.group_index]),
        np.concatenate([first_pool.group_row, second_pool.group_row]),
    )
    return FittedCandidates(pool, concatenate(first.fits, second.fits))


def fit_all(
    pool: CandidatePool,
    target: Target,
    *,
    free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS,
    start: FitValues | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Return the fits of all candidates as NumPy arrays.

    Args:
        pool: Candidates, at least one.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
        start: Values from earlier fits of the candidates. By default the fits start from typical values, and the curves
            between the tabulated amplitudes of the displacements have an error of about 1 %. If values are given, the
            amplitudes lie near them, and the curves are accurate.
        progress: Function that is called with the number of fitted candidates and the number of all candidates.
    """
    batch_fits, n_candidates = [], len(pool.group_row)
    batch_size = _batch_size()
    if "relaxation" in free:
        pool.compute_fields()
    for first in range(0, n_candidates, batch_size):
        batch = np.arange(first, min(first + batch_size, n_candidates))
        batch_pool, batch_start = pool.select(batch), None if start is None else select_rows(start, batch)
        batch_tables = cluster_tables(batch_pool, target, free=free, start=batch_start)
        batch_fits.append(fit_cluster_tables(batch_tables, target, free=free, start=batch_start, n_fits=len(batch)))
        if progress:
            progress(first + len(batch), n_candidates)
    return _concatenate_all(batch_fits)


def cluster_tables(
    pool: CandidatePool,
    target: Target,
    *,
    free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS,
    start: FitValues | None = None,
) -> ClusterTable:
    """Return the tabulated distances of candidates, with a leading axis of candidates.

    Additional rows repeat the last candidate, so that the number of rows is a multiple of the batch size.

    Args:
        pool: Candidates, at least one.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters. The candidates are rigid if the relaxation is not fitted.
        start: Values of the candidates. The amplitudes of the displacements lie near their relaxation. By default they
            cover the whole range of the fit.
    """
    n_candidates, batch_size = len(pool.group_row), _table_batch_size()
    is_relaxed = "relaxation" in free and any(group.fields for group in pool.groups)
    if is_relaxed:
        pool.compute_fields()
    if is_relaxed and start is not None:
        relaxation = np.asarray(start.relaxation, float)
        batches = [
            np.arange(first, min(first + batch_size, n_candidates)) for first in range(0, n_candidates, batch_size)
        ]
        return _concatenate_all(
            [_tabulate(pool.select(batch), target, relaxation[batch, None] + NARROW_AMPLITUDES) for batch in batches]
        )
    stores = [group.tables or TableStore() for group in pool.groups]
    keys = [
        TableKey(pool.entry(index)[1], float(target.bond), target.span, is_relaxed) for index in range(n_candidates)
    ]
    candidate_stores = [stores[group_index] for group_index in pool.group_index]
    tables = [store.find(key) for store, key in zip(candidate_stores, keys, strict=True)]
    missing = np.array([index for index, table in enumerate(tables) if table is None], int)
    for first in range(0, len(missing), batch_size):
        batch = missing[first : first + batch_size]
        amplitudes = np.broadcast_to(WIDE_AMPLITUDES, (len(batch), len(WIDE_AMPLITUDES))) if is_relaxed else None
        new_tables = _tabulate(pool.select(batch), target, amplitudes)
        for row, index in enumerate(batch):
            tables[index] = jax.tree.map(np.copy, select_rows(new_tables, slice(row, row + 1)))
            candidate_stores[index].keep(keys[index], tables[index])
    tables += [tables[-1]] * (-n_candidates % batch_size)
    return _concatenate_all(tables)


def fit_cluster_tables(
    cluster_tables: ClusterTable,
    target: Target,
    *,
    free: tuple[str, ...] = DEFAULT_FREE_PARAMETERS,
    start: FitValues | None = None,
    n_fits: int | None = None,
) -> Fit:
    """Return the fits of tabulated clusters as NumPy arrays.

    Args:
        cluster_tables: Tables of the clusters, with a leading axis.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
        start: Values at the start of the fits, for the first rows of the tables. By default they are typical values.
        n_fits: Number of rows of the tables that are fitted, from the first one on. By default all rows are fitted.
    """
    n_fits = cluster_tables.shell_functions.shape[0] if n_fits is None else n_fits
    batch_size, batch_fits = _batch_size(), []
    for first in range(0, n_fits, batch_size):
        n_batch = min(batch_size, n_fits - first)
        batch = slice(first, first + n_batch)
        unpadded_tables = select_rows(cluster_tables, batch)
        batch_tables = _padded_rows(unpadded_tables, batch_size)
        if start is None:
            batch_start = _all_starting_values(unpadded_tables, target, free)
        else:
            batch_start = select_rows(start, batch)
        batch_start = _padded_rows(batch_start, batch_size)
        batch_fit = _refine_all(batch_tables, target.basis, batch_start, n_batch, free=free)
        batch_fits.append(jax.tree.map(lambda column, n_batch=n_batch: np.asarray(column)[:n_batch], batch_fit))
    return _concatenate_all(batch_fits)


def refit_accurately(
    fitted_candidates: FittedCandidates, target: Target, *, free: tuple[str, ...], count: int = N_ACCURATE_FITS
) -> FittedCandidates:
    """Return the candidates with accurate fits of the best of them, best first.

    First fits with displacements have an error of about 1 % in their curves. Without the relaxation among the fitted
    parameters, all fits are accurate already.

    Args:
        fitted_candidates: Candidates with first fits, best first.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
        count: Number of the best candidates that are fitted again.
    """
    if "relaxation" not in free:
        return fitted_candidates
    n_refitted = min(count, len(fitted_candidates.fits.rw))
    best = select_fitted(fitted_candidates, np.arange(n_refitted))
    best_fits = fit_all(best.pool, target, free=free, start=best.fits.values)
    rw = np.where(np.isfinite(best_fits.rw), best_fits.rw, np.inf)
    order = np.lexsort((rw, best.pool.is_invalid))
    all_fits = concatenate(select_rows(best_fits, order), select_rows(fitted_candidates.fits, slice(n_refitted, None)))
    all_rows = np.concatenate([order, np.arange(n_refitted, len(fitted_candidates.fits.rw))])
    return FittedCandidates(fitted_candidates.pool.select(all_rows), all_fits)


def select_fitted(fitted_candidates: FittedCandidates, rows: np.ndarray) -> FittedCandidates:
    """Return the candidates at the given rows with their fits, in the order of the rows."""
    return FittedCandidates(fitted_candidates.pool.select(rows), select_rows(fitted_candidates.fits, rows))


def select_rows(arrays, indices):
    """Return a pytree with the given rows of each array, selected along the first axis."""
    return jax.tree.map(lambda array: array[indices], arrays)


def _concatenate_all(batches):
    """Return a pytree with the arrays of several pytrees, concatenated along their first axis."""
    return jax.tree.map(lambda *columns: np.concatenate(columns), *batches)


def concatenate(first, second):
    """Return a pytree with the arrays of two pytrees, concatenated along their first axis."""
    return jax.tree.map(
        lambda first_array, second_array: np.concatenate([np.asarray(first_array), np.asarray(second_array)]),
        first,
        second,
    )


def _batch_size() -> int:
    """Return the number of candidates that one compiled call fits."""
    return BATCH_SIZE if jax.default_backend() == "cpu" else ACCELERATOR_BATCH_SIZE


def _all_starting_values(cluster_tables: ClusterTable, target: Target, free: tuple[str, ...]) -> FitValues:
    """Return the start values of fits. They are a program of their own, so that the fits are compiled only once."""
    n_rows, batch_size = cluster_tables.shell_functions.shape[0], _table_batch_size()
    batches = [
        _starting_values(
            _padded_rows(select_rows(cluster_tables, slice(first, first + batch_size)), batch_size),
            target.basis,
            free=free,
        )
        for first in range(0, n_rows, batch_size)
    ]
    return jax.tree.map(lambda *columns: np.concatenate(columns)[:n_rows], *batches)


def _table_batch_size() -> int:
    """Return the number of candidates whose tables one compiled call computes."""
    return TABLE_BATCH_SIZE if jax.default_backend() == "cpu" else ACCELERATOR_BATCH_SIZE


def _padded_rows(arrays, n_rows: int):
    """Return a pytree whose arrays have `n_rows` rows in single precision. Additional rows are 0."""

    def pad(column):
        if len(column) == n_rows and column.dtype == np.float32:
            return column
        padded = np.zeros((n_rows, *np.shape(column)[1:]), np.float32)
        padded[: len(column)] = column
        return padded

    return jax.tree.map(pad, arrays)


def _tabulate(pool: CandidatePool, target: Target, amplitudes: Float[np.ndarray, "candidate amplitude"] | None):
    """Return the tables of at most one batch of candidates as NumPy arrays.

    Additional rows repeat the last candidate, so that all batches have one size.

    Args:
        pool: Candidates.
        target: Measured data and settings of the fit.
        amplitudes: Amplitudes of the displacements of each candidate; None if all are rigid. A candidate without
            displacements has the same distances for all amplitudes.
    """
    rows = np.arange(_table_batch_size()).clip(max=len(pool.group_row) - 1)
    if amplitudes is None:
        entries = [pool.entry(row) for row in rows]
        histograms = library.scaled_histograms(entries, bond=target.bond, max_distance=target.span.max_distance)
        return jax.tree.map(np.asarray, _cluster_tables(histograms, target.basis))
    relaxed_histograms: list[list[Histogram]] = []
    for index in range(len(pool.group_row)):
        store, (cluster_library, row) = pool.groups[pool.group_index[index]].fields, pool.entry(index)
        relaxed_histograms.append(
            store.histograms(row, amplitudes[index].tolist())
            if store
            else [library.candidate_histogram(cluster_library, row)] * amplitudes.shape[1]
        )
    padded = [
        library.pad_histograms(
            [relaxed_histograms[row][column] for row in rows], bond=target.bond, max_distance=target.span.max_distance
        )
        for column in range(amplitudes.shape[1])
    ]
    stacked = jax.tree.map(lambda *columns: np.stack(columns, axis=1), *padded)
    has_field = np.array([pool.field(row) is not None for row in rows], np.float32)
    tables = _cluster_tables_with_fields(stacked, amplitudes[rows].astype(np.float32), has_field, target.basis)
    return jax.tree.map(np.asarray, tables)


@jax.jit
def _cluster_tables_with_fields(histograms: Histogram, amplitudes, has_field, basis: FitBasis) -> ClusterTable:
    def tabulate(histograms, amplitudes, has_field):
        tables = jax.vmap(lambda histogram: tabulate_cluster(histogram, basis.bond, span=basis.span))(histograms)
        return join_amplitudes(tables, amplitudes, has_field)

    return jax.vmap(tabulate)(histograms, amplitudes, has_field)


@jax.jit
def _cluster_tables(histograms: Histogram, basis: FitBasis) -> ClusterTable:
    return jax.vmap(lambda histogram: tabulate_cluster(histogram, basis.bond, span=basis.span))(histograms)


@partial(jax.jit, static_argnames="free")
def _starting_values(cluster_tables: ClusterTable, basis: FitBasis, *, free: tuple[str, ...]) -> FitValues:
    names = fit.nonlinear_parameters(free)
    return jax.vmap(lambda table: fit.fractions_to_values(fit.starting_fractions(table, names, basis), names, basis))(
        cluster_tables
    )


@partial(jax.jit, static_argnames="free")
def _refine_all(
    cluster_tables: ClusterTable, basis: FitBasis, start: FitValues, n_fits: Int[Array, ""] | int, *, free
) -> Fit:
    return fit.refine_all(cluster_tables, basis, free=free, start=start, n_fits=n_fits)
