"""Particles at which searches over lattice sites end, with their fits, ranked by their cost."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxstruc.clusters import lattice_sites, lattices, library, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, relaxed_screening, site_moves
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.search_starts import LatticeParticle
from jaxstruc.pdf.site_moves import CostWeights
from jaxstruc.pdf.target import Target

LOG_SCALE_SPREAD = 0.3
"""Prior standard deviation of the logarithm of the scale, for data that are not on an absolute scale."""
MAX_CORRECTED = 16
"""Number of the best particles whose change of G(r) by the relaxation is computed. The others get that of the last of
them."""


class SearchMinima(NamedTuple):
    """Distinct best particles of the searches so far, lowest cost first."""

    starts: list[LatticeParticle]
    """Particles on their lattices, from which further searches may start."""
    fitted_candidates: FittedCandidates
    """Particles as candidates, with their fits."""
    cost: np.ndarray
    """[particle] Negative logarithm of the posterior, up to a constant."""
    shape_cost: np.ndarray
    """[particle] Term of the cost from the prior on the shape, for weight 1."""
    identities: list[tuple[int, int, int]]
    """[particle] Numbers that distinguish the particles, see `library.moments`."""

    def best(self, count: int) -> "SearchMinima":
        """Return the best minima."""
        rows = np.arange(min(count, len(self.cost)))
        fitted_candidates = candidates.select_fitted(self.fitted_candidates, rows)
        return SearchMinima(
            self.starts[:count], fitted_candidates, self.cost[:count], self.shape_cost[:count], self.identities[:count]
        )


def rank_minima(
    target: Target,
    search_ends: Sequence[LatticeParticle],
    weights: CostWeights,
    *,
    earlier_minima: SearchMinima | None = None,
    initial_values: FitValues | None = None,
) -> SearchMinima | None:
    """Return the distinct particles with their fits, lowest cost first; None if no particle has enough atoms.

    Args:
        target: Measured data and settings of the fit.
        search_ends: Particles on their lattices.
        weights: Weights of the terms of the cost function.
        earlier_minima: Particles that are fitted already.
        initial_values: Fitted values of a similar particle, from which the fits start.
    """
    clusters, starts, identities = [], [], []
    known_identities = set(earlier_minima.identities if earlier_minima else ())
    for start in search_ends:
        positions = start.lattice.positions[start.occupied_sites]
        if len(positions) < site_moves.MIN_ATOMS:
            continue
        cluster = lattices.centred_cluster(
            _observed_family(positions), _lattice_label(start.lattice.packing), positions
        )
        identity = library.moments(np.round(cluster.positions, 4))
        if identity not in known_identities:
            known_identities.add(identity)
            clusters.append(cluster)
            starts.append(start)
            identities.append(identity)
    if not clusters:
        return earlier_minima
    fitted_candidates = _fit_particles(target, clusters, initial_values)
    starts = [
        start._replace(values=candidates.select_rows(fitted_candidates.fits.values, row), relaxation_curve=None)
        for row, start in enumerate(starts)
    ]
    shape_cost = np.array(
        [lattice_sites.excess_occupancy_cost(start.lattice, start.occupied_sites) for start in starts]
    )
    new_minima = SearchMinima(starts, fitted_candidates, np.zeros(len(starts)), shape_cost, identities)
    return _merge_minima(target, earlier_minima, new_minima, weights)


def with_best_start(
    target: Target, minima: SearchMinima | None, first_starts: Sequence[LatticeParticle], weights: CostWeights
) -> SearchMinima | None:
    """Return the minima, and in addition the best start if it has a lower cost than the best minimum.

    With binned distances, the result of a search never has a higher cost than the start. With the costs of exact fits,
    the order may be reversed.
    """
    start_minima = rank_minima(target, first_starts, weights)
    if start_minima is None or (minima is not None and not start_minima.cost[0] < minima.cost[0]):
        return minima
    best_start = start_minima.best(1)
    return best_start if minima is None else _merge_minima(target, best_start, minima, weights)


def _fit_particles(target: Target, clusters: Sequence[Cluster], initial_values: FitValues | None) -> FittedCandidates:
    """Return particles with their fits, which start from given values."""
    cluster_library = library.from_clusters(clusters)
    fields = FieldStore(cluster_library, target.element) if target.element else None
    pool = candidates.candidate_pool(
        [CandidateGroup("search", cluster_library, np.arange(len(clusters)), fields=fields)]
    )
    if initial_values is None:
        fits = candidates.fit_all(pool, target)
        first_values = fits.values
    else:
        first_values = jax.tree.map(lambda value: np.full(len(clusters), value, np.float32), initial_values)
    if fields or initial_values is not None:
        fits = candidates.fit_all(pool, target, start=first_values)
    return FittedCandidates(pool, fits)


def _merge_minima(
    target: Target, earlier_minima: SearchMinima | None, new_minima: SearchMinima, weights: CostWeights
) -> SearchMinima:
    """Return the particles of both lists, lowest cost first.

    The changes of G(r) by the relaxation are computed for the best particles that do not have them yet.
    """
    first = [earlier_minima] if earlier_minima else []
    starts = [start for minima in (*first, new_minima) for start in minima.starts]
    identities = [identity for minima in (*first, new_minima) for identity in minima.identities]
    shape_cost = np.concatenate([minima.shape_cost for minima in (*first, new_minima)])
    fitted_candidates = new_minima.fitted_candidates
    if earlier_minima:
        fitted_candidates = candidates.join(earlier_minima.fitted_candidates, fitted_candidates)
    fits = fitted_candidates.fits
    squares = np.asarray(fits.rw, float) ** 2 + site_moves.MIN_SEARCH_RW**2
    cost = 0.5 * float(weights.n_effective) * np.log(squares) + float(weights.shape_weight) * shape_cost
    if not target.absolute:
        cost += 0.5 * (np.log(np.maximum(fits.values.scale, 1e-3)) / LOG_SCALE_SPREAD) ** 2
    order = np.argsort(np.where(np.isfinite(cost), cost, np.inf), kind="stable")
    missing_rows = [row for row in order[:MAX_CORRECTED] if starts[row].relaxation_curve is None]
    if missing_rows:
        relaxation_curves = relaxed_screening.relaxation_curves(
            candidates.select_fitted(fitted_candidates, np.array(missing_rows)), target, free=DEFAULT_FREE_PARAMETERS
        )
        for row, curve in zip(missing_rows, relaxation_curves, strict=True):
            starts[row] = starts[row]._replace(relaxation_curve=curve)
    last_curve = starts[order[:MAX_CORRECTED][-1]].relaxation_curve
    ranked_starts = [
        starts[row] if place < MAX_CORRECTED else starts[row]._replace(relaxation_curve=last_curve)
        for place, row in enumerate(order)
    ]
    return SearchMinima(
        ranked_starts,
        candidates.select_fitted(fitted_candidates, order),
        cost[order],
        shape_cost[order],
        [identities[row] for row in order],
    )


def _observed_family(positions: np.ndarray) -> str:
    """Return the library family whose clusters have the same structure type as a particle."""
    type_name = structure_type.identify_structure_type(positions).name
    return {"faulted": "fault"}.get(type_name, type_name) or "fault"


def _lattice_label(packing: str) -> str:
    """Return the description of a lattice for the recipe of a particle."""
    return f"sites of {'a stack' if packing not in lattice_sites.UNSTACKED_PACKINGS else packing}"
