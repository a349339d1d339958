"""Selection of further candidates by their approximate Rw, after a correction of the data for the relaxation.

The approximate Rw of `pdf.screening` belongs to rigid clusters. If the atoms of the sample have relaxed, the right
cluster may not be among the best rigid ones. The best fitted candidate of each structure type therefore gives the
change of G(r) by its relaxation. This change is subtracted from the data, and the rigid clusters of the type are
compared with the difference, because similar clusters relax in similar ways.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.clusters.families import FAMILY_TYPES
from jaxstruc.pdf import candidates, fit, screening
from jaxstruc.pdf.candidates import FittedCandidates
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.screening import BinnedDistances
from jaxstruc.pdf.target import FitBasis, Target
from jaxstruc.scattering.cluster_tables import ClusterTable

MIN_RELAXATION = 0.02
"""Smallest absolute relaxation for which the data are corrected."""
MAX_RW_RATIO = 3.0
"""Largest ratio of the Rw of a type's best candidate to the smallest Rw of all candidates."""


def relaxation_curves(
    fitted_candidates: FittedCandidates, target: Target, *, free: tuple[str, ...]
) -> Float[np.ndarray, "candidate basis"]:
    """Return the changes of the calculated curves by the relaxation, in the compact basis of the data.

    Args:
        fitted_candidates: Candidates with their fits.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
    """
    pool, fits = fitted_candidates
    cluster_tables = candidates.cluster_tables(pool, target, free=free)
    n_padding = cluster_tables.shell_functions.shape[0] - len(fits.rw)
    values = jax.tree.map(lambda column: np.pad(column, (0, n_padding), mode="edge").astype(np.float32), fits.values)
    return np.asarray(_relaxation_curves(cluster_tables, values, target.basis))[: len(fits.rw)]


def corrected_basis(basis: FitBasis, curve: Float[np.ndarray, " basis"]) -> FitBasis:
    """Return the data minus a curve. The norm, to which Rw refers, stays that of the data."""
    return replace(basis, data=basis.data - jnp.asarray(curve, basis.data.dtype))


def further_rows(
    fitted_candidates: FittedCandidates,
    group_index: int,
    distances: BinnedDistances,
    target: Target,
    *,
    free: tuple[str, ...],
    count: int,
) -> np.ndarray:
    """Return the library rows of the best candidates that are not fitted yet, in rising order.

    Args:
        fitted_candidates: Fitted candidates, best first.
        group_index: Index of the group in the pool to which the binned distances belong.
        distances: Binned distances of the group's candidates.
        target: Measured data and settings of the fit.
        free: Names of the fitted parameters.
        count: Largest number of rows.
    """
    pool, fits = fitted_candidates
    in_group = np.flatnonzero(pool.group_index == group_index)
    group = pool.groups[group_index]
    if not len(in_group):
        return np.zeros(0, int)
    types = np.array([FAMILY_TYPES.get(family, "") for family in pool.families[in_group]], object)
    library_types = np.array(
        [FAMILY_TYPES.get(family, "") for family in group.library.families[distances.rows]], object
    )
    fitted_rows = group.rows[pool.group_row[in_group]]
    rows, approximate_rw = [], []
    for name in dict.fromkeys(types):
        best = in_group[np.flatnonzero(types == name)[0]]
        is_relaxed = abs(fits.values.relaxation[best]) > MIN_RELAXATION
        if not is_relaxed or not fits.rw[best] <= MAX_RW_RATIO * fits.rw[0]:
            continue
        (curve,) = relaxation_curves(candidates.select_fitted(fitted_candidates, np.array([best])), target, free=free)
        type_distances = screening.select_candidates(distances, distances.rows[library_types == name])
        values = FitValues(*(column[best] for column in fits.values))
        type_rw = screening.gauss_newton_rw(type_distances, corrected_basis(target.basis, curve), values)
        is_new = ~np.isin(type_distances.rows, fitted_rows)
        rows.append(type_distances.rows[is_new])
        approximate_rw.append(type_rw[is_new])
    if not rows:
        return np.zeros(0, int)
    order = np.argsort(np.concatenate(approximate_rw), kind="stable")[:count]
    return np.sort(np.concatenate(rows)[order])


@jax.jit
def _relaxation_curves(cluster_tables: ClusterTable, values: FitValues, basis: FitBasis) -> Float[Array, "row basis"]:
    def change(cluster_table, values):
        rigid_values = values._replace(relaxation=jnp.zeros_like(values.relaxation))
        relaxed, rigid = (fit.model_curve(cluster_table, entry, basis) for entry in (values, rigid_values))
        return values.scale * (relaxed - rigid)

    return jax.vmap(change)(cluster_tables, values)
