r"""Simulated curves of a cluster or a mixture, for `jaxstruc simulate` and `jaxstruc.simulate`.

If sites are partly occupied, or if several elements share them, the curve is the mean over all copies of the cluster.
The occupations of different sites are taken as independent. With the occupancy $o_{ik}$ of site i by element k, the
amplitude of a site in the pair terms is $\bar f_i = \sum_k o_{ik} f_k$. The self-scattering is
$\sum_{ik} o_{ik} f_k^2$. The number of atoms in S(Q), F(Q) and G(r) is $\sum_{ik} o_{ik}$.
"""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from jaxtyping import Array, Float
from scipy.spatial import KDTree

from jaxstruc.clusters.structure_files import (
    HYDROGEN_ISOTOPES,
    MAX_OCCUPANCY_ERROR,
    MIN_CONTACT_RATIO,
    MIN_SITE_DISTANCE,
    REMARKS,
    check_atoms,
    site_occupancies,
    whole_cluster,
)
from jaxstruc.options.simulation import Probe, Signal, SimulateOptions
from jaxstruc.options.validation import override
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, PairDistances
from jaxstruc.scattering.pair_distribution import Grid, Scatterers

RELATIVE_ACCURACY = 1e-11
"""Relative accuracy of the curves of large clusters. The pairs of small clusters are summed exactly."""
SAME_SITE_DISTANCE = 0.02
"""Largest distance between atoms that share a site, in Å."""
MAX_SHARED_ATOMS = 8
"""Largest number of atoms at one place."""
SIGNAL_FUNCTIONS = {
    "iq": debye.intensity,
    "sq": debye.structure_function,
    "fq": debye.reduced_structure_function,
}


class SimulatedCurve(NamedTuple):
    """A simulated curve, in double precision."""

    x: Float[np.ndarray, " x"]
    """Grid of Q in 1/Å, or of r in Å for G(r)."""
    y: Float[np.ndarray, " x"]
    """I(Q) of the whole cluster in electrons² (neutrons: fm²; small-angle scattering: 1/cm), S(Q) without a unit,
    F(Q) in 1/Å, or G(r) in 1/Å²."""
    qstep: float
    """Step of Q, in 1/Å."""


class ScatteringSites(NamedTuple):
    """Sites of a cluster and the elements that occupy them."""

    positions: Float[np.ndarray, "site 3"]
    """Positions of the sites, in Å."""
    occupancies: list[dict[str, float]]
    """Occupancy of each site by elements and hydrogen isotopes."""


def simulate(
    atoms: ase.Atoms | Sequence[ase.Atoms],
    *,
    atom_fractions: Sequence[float] | None = None,
    options: SimulateOptions | None = None,
    signal: Signal | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    rmax: float | None = None,
    uiso: float | None = None,
    probe: Probe | None = None,
) -> SimulatedCurve:
    """Return I(Q), S(Q), F(Q) or G(r) of a cluster, or of a mixture of clusters, in double precision.

    Args:
        atoms: The cluster, or several clusters of one element. If a periodic unit cell cuts a cluster into pieces, they
            are joined. Partial occupancies are taken into account, see `jaxstruc.scattering.simulate`.
        atom_fractions: Fraction of the atoms of the mixture that belong to each cluster. By default all
            fractions are equal. I(Q) of a mixture is the mean over its particles.
        options: All options. A keyword argument below overrides the field of the same name.
        signal: Simulated curve: gr, iq, sq or fq.
        qmin: Start of the Q range, in 1/Å.
        qmax: End of the Q range, in 1/Å.
        rmax: End of the r range of G(r), in Å.
        uiso: Isotropic displacement parameter of all atoms, in Å².
        probe: Radiation, xray or neutron.

    Raises:
        ValueError: If an option is not allowed, if an element or ion is not in the table, if a structure is a crystal
            or has atoms that are too close, or if the clusters cannot be mixed.
    """
    options = options or SimulateOptions()
    options = dataclasses.replace(
        options,
        signal=override(signal, options.signal),
        qmin=override(qmin, options.qmin),
        qmax=override(qmax, options.qmax),
        rmax=override(rmax, options.rmax),
        uiso=override(uiso, options.uiso),
        probe=override(probe, options.probe),
    )
    options.check()
    clusters = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
    prepared_clusters = [_sites_of_cluster(cluster) for cluster in clusters]
    return _simulated_curve(prepared_clusters, _checked_fractions(prepared_clusters, atom_fractions), options)


def scattering_sites(atoms: ase.Atoms, source: str) -> ScatteringSites:
    """Return the sites of a cluster. Atoms at one place become one site if their occupancies sum to at most 1.

    Args:
        atoms: Cluster with positions in Å.
        source: Name of the structure in messages, e.g. the path of its file.

    Raises:
        ValueError: If occupancies are not valid, or if atoms are too close to each other. The message names the source.
    """
    check_atoms(atoms, source)
    stated_occupancies = site_occupancies(atoms, source)
    totals = np.array([sum(site.values()) for site in stated_occupancies])
    occupied_rows = np.flatnonzero(totals > 0)
    totals, positions = totals[occupied_rows], atoms.positions[occupied_rows]
    occupancies = [dict(stated_occupancies[row]) for row in occupied_rows]
    tree = KDTree(positions)
    _refuse_crowded(tree, source)
    is_first = np.ones(len(totals), bool)
    for first, second in sorted(tree.query_pairs(SAME_SITE_DISTANCE)):
        if is_first[first] and is_first[second] and totals[first] + totals[second] <= 1 + MAX_OCCUPANCY_ERROR:
            for symbol, occupancy in occupancies[second].items():
                occupancies[first][symbol] = occupancies[first].get(symbol, 0.0) + occupancy
            totals[first] += totals[second]
            is_first[second] = False
    first_rows = np.flatnonzero(is_first)
    merged_occupancies = [occupancies[row] for row in first_rows]
    _check_distances(positions[first_rows], merged_occupancies, occupied_rows[first_rows], source)
    return ScatteringSites(positions[first_rows], merged_occupancies)


def uiso_of(options: SimulateOptions) -> float:
    """Return the isotropic displacement parameter U in Å². The options contain either U or B = 8 pi² U."""
    return options.uiso if options.biso is None else options.biso / (8 * np.pi**2)


def _sites_of_cluster(atoms: ase.Atoms) -> ScatteringSites:
    """Return the sites of a cluster.

    If a periodic unit cell cuts the cluster into pieces, they are joined, and a warning is issued.
    """
    source = str(atoms)
    check_atoms(atoms, source)
    whole_atoms = whole_cluster(atoms, source)
    if whole_atoms is not atoms:
        for remark in whole_atoms.info.get(REMARKS, ()):
            warnings.warn(f"{source}: {remark}", stacklevel=3)
    return scattering_sites(whole_atoms, source)


def _refuse_crowded(tree: KDTree, source: str) -> None:
    """Refuse a structure with so many atoms at one place that a list of their pairs may not fit into memory."""
    n_neighbours = min(MAX_SHARED_ATOMS + 1, tree.n)
    distances = tree.query(tree.data, k=n_neighbours)[0]
    if n_neighbours > MAX_SHARED_ATOMS and distances[:, -1].min() < MIN_SITE_DISTANCE:
        raise ValueError(
            f"Expected distances of at least {MIN_SITE_DISTANCE} Å between atoms, got more than {MAX_SHARED_ATOMS} "
            f"atoms at one place in {source}; correct it."
        )


def _check_distances(
    positions: Float[np.ndarray, "site 3"],
    occupancies: Sequence[Mapping[str, float]],
    atom_index: np.ndarray,
    source: str,
) -> None:
    """Refuse sites that are too close to each other.

    Partly occupied sites that are closer than bonded atoms are alternatives of one atom. Their occupations depend on
    each other, so that mean form factors do not describe them.
    """
    symbols = [max(site, key=lambda symbol: site[symbol]) for site in occupancies]
    radii = np.array(
        [covalent_radii[1 if symbol in HYDROGEN_ISOTOPES else atomic_numbers.get(symbol, 0)] for symbol in symbols]
    )
    is_partial = np.array([sum(site.values()) < 1 - MAX_OCCUPANCY_ERROR for site in occupancies], bool)
    reach = max(MIN_SITE_DISTANCE, 2 * MIN_CONTACT_RATIO * radii.max() if is_partial.any() else 0.0)
    first, second = KDTree(positions).query_pairs(reach, output_type="ndarray").T
    distance = np.linalg.norm(positions[first] - positions[second], axis=1)
    is_alternative = is_partial[first] & is_partial[second]
    limit = np.where(is_alternative, MIN_CONTACT_RATIO * (radii[first] + radii[second]), 0.0)
    if not (is_close := distance < np.maximum(limit, MIN_SITE_DISTANCE)).any():
        return
    row = np.flatnonzero(is_close)[distance[is_close].argmin()]
    pair = (int(first[row]), int(second[row]))
    numbers, names = [int(atom_index[site]) + 1 for site in pair], [symbols[site] for site in pair]
    raise ValueError(
        f"Expected distances of at least {MIN_SITE_DISTANCE} Å between atoms"
        f"{' and no alternative sites of one atom' if is_alternative[row] else ''}, got {distance[row]:.2g} Å between "
        f"atoms {numbers[0]} and {numbers[1]} ({names[0]} and {names[1]}, counted from 1) in {source}; remove one of "
        "them."
    )


def _simulated_curve(
    clusters: Sequence[ScatteringSites], share: Float[np.ndarray, " cluster"], options: SimulateOptions
) -> SimulatedCurve:
    """Return the curve of one cluster or a mixture, for clusters and options that were checked."""
    signal = options.signal or "gr"
    with jax.enable_x64(True):
        scatterers = pair_distribution.scatterers(clusters[0].occupancies, probe=options.probe, ions=options.ions)
        reach = max(
            np.linalg.norm(positions - positions.mean(axis=0), axis=1).max()
            for positions in (cluster.positions for cluster in clusters)
        )
        max_distance = 2 * reach + 0.01
        qmin, qmax = options.q_range
        alias_free_qstep = min(pair_distribution.alias_free_step(options.rmax, max_distance), (qmax - qmin) / 2)
        grid = Grid(
            qmin=qmin, qmax=qmax, qstep=options.qstep or alias_free_qstep, rmin=options.rmin, rmax=options.rmax,
            rstep=options.rstep, max_distance=max_distance, accuracy=RELATIVE_ACCURACY, lorch=options.window == "lorch",
        )  # fmt: skip
        instrument = Instrument(
            uiso=uiso_of(options), delta1=options.delta1, delta2=options.delta2, qdamp=options.qdamp,
            qbroad=options.qbroad,
        )  # fmt: skip
        if len(clusters) == 1:
            curve = _cluster_curve(jnp.asarray(clusters[0].positions), scatterers, instrument, grid=grid, signal=signal)
        else:
            curve = _mixture_curve(
                [cluster.positions for cluster in clusters], share, scatterers, instrument, grid=grid, signal=signal
            )
        y = _with_mean_occupancy(np.asarray(curve), scatterers, grid.q, signal)
        return SimulatedCurve(grid.r if signal == "gr" else grid.q, y, grid.qstep)


def _with_mean_occupancy(
    y: Float[np.ndarray, " x"], scatterers: Scatterers, q: Float[np.ndarray, " q"], signal: str
) -> Float[np.ndarray, " x"]:
    """Return a curve that was computed for fully occupied sites, corrected for their occupancies.

    In S, F and G, the number of atoms replaces the number of sites. In I, the self-scattering of the atoms replaces
    that of the mean form factors. If one element fully occupies each site, the curve does not change.
    """
    if scatterers.has_whole_atoms:
        return y
    if signal != "iq":
        offset = 1.0 if signal == "sq" else 0.0
        return offset + (y - offset) * scatterers.mean_occupancy
    amplitudes = np.asarray(form_factors.xray_form_factors(scatterers.element_coefficients, jnp.asarray(q)))
    site_variance = scatterers.occupancy @ amplitudes**2 - (scatterers.occupancy @ amplitudes) ** 2
    return y + scatterers.composition @ site_variance


def _cluster_curve(
    positions: Float[Array, "atom 3"], scatterers: Scatterers, instrument: Instrument, *, grid: Grid, signal: str
) -> Float[Array, " x"]:
    """Return the curve of one cluster. The function is compiled as a whole, which saves time."""
    coefficients, composition = scatterers.coefficients, scatterers.composition

    @jax.jit
    def compiled_curve(positions, instrument):
        mask, n_kinds = np.ones(len(positions), bool), len(scatterers.elements)
        pair_distances = pair_distribution.pair_distances_from_positions(
            positions, mask, grid, atom_kinds=scatterers.atom_kinds, n_kinds=n_kinds
        )
        return _pair_curve(pair_distances, coefficients, composition, instrument, grid=grid, signal=signal)

    return compiled_curve(positions, instrument)


def _pair_curve(
    pair_distances: PairDistances, coefficients, composition, instrument: Instrument, *, grid: Grid, signal: str
):
    """Return the curve that `signal` names, from the pairs of a cluster."""
    if signal == "gr":
        return pair_distribution.pdf(pair_distances, coefficients, composition, instrument, grid)
    amplitudes = form_factors.xray_form_factors(coefficients, jnp.asarray(grid.q))
    return SIGNAL_FUNCTIONS[signal](pair_distances, instrument, amplitudes, composition, grid.q)


def _mixture_curve(
    positions: Sequence[Float[np.ndarray, "_ 3"]],
    atom_fractions: Float[np.ndarray, " cluster"],
    scatterers: Scatterers,
    instrument: Instrument,
    *,
    grid: Grid,
    signal: str,
) -> Float[Array, " x"]:
    """Return the curve of a mixture of clusters of one element, from the mean of their pairs."""
    atom_counts = np.array([len(cluster_positions) for cluster_positions in positions])
    number_fractions = atom_fractions / atom_counts / np.sum(atom_fractions / atom_counts)
    max_atoms = int(atom_counts.max())

    @jax.jit
    def spread_padded(positions, mask):
        return debye.spread_positions(
            positions, mask, np.zeros(max_atoms, np.int32), pair_distribution.spreading_nodes(grid), n_kinds=1
        )

    total: PairDistances | None = None
    for cluster_positions, number_fraction in zip(positions, number_fractions, strict=True):
        padded_positions = jnp.asarray(np.pad(cluster_positions, ((0, max_atoms - len(cluster_positions)), (0, 0))))
        spread_pairs = spread_padded(padded_positions, jnp.asarray(np.arange(max_atoms) < len(cluster_positions)))
        weight = number_fraction * spread_pairs.weight
        total = spread_pairs._replace(weight=weight if total is None else total.weight + weight)
    composition = np.array([float(number_fractions @ atom_counts)])
    return jax.jit(partial(_pair_curve, grid=grid, signal=signal))(
        total, scatterers.coefficients, composition, instrument
    )


def _checked_fractions(
    clusters: Sequence[ScatteringSites], atom_fractions: Sequence[float] | None
) -> Float[np.ndarray, " cluster"]:
    """Return the fractions of atoms that belong to each cluster, scaled to the sum 1.

    Raises:
        ValueError: If there is no cluster, if a mixture has several elements, or if the fractions are not valid.
    """
    if not clusters:
        raise ValueError("Expected at least one cluster, got none.")
    elements = sorted({symbol for cluster in clusters for site in cluster.occupancies for symbol in site})
    if len(clusters) > 1 and len(elements) != 1:
        raise ValueError(
            f"Expected clusters of one element in a mixture, got {', '.join(elements)}; simulate them separately."
        )
    smallest_occupancy = min(sum(site.values()) for cluster in clusters for site in cluster.occupancies)
    if len(clusters) > 1 and smallest_occupancy < 1 - MAX_OCCUPANCY_ERROR:
        raise ValueError(
            f"Expected fully occupied sites in a mixture, got an occupancy of {smallest_occupancy:.3g}; simulate the "
            "clusters separately."
        )
    fractions = np.ones(len(clusters)) if atom_fractions is None else np.asarray(atom_fractions, float)
    if fractions.shape != (len(clusters),) or not (fractions >= 0).all() or not 0 < fractions.sum() < np.inf:
        raise ValueError(
            f"Expected a fraction of at least 0 for each of {len(clusters)} clusters, and a sum above 0, got "
            f"{atom_fractions}."
        )
    return fractions / fractions.sum()
