"""Simulated curves of a cluster or a mixture, for `jaxstruc simulate` and `jaxstruc.simulate`."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.clusters.cluster import check_atoms
from jaxstruc.options.simulation import Probe, Signal, SimulateOptions
from jaxstruc.options.validation import override
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, PairDistances
from jaxstruc.scattering.pair_distribution import Grid, Scatterers

RELATIVE_ACCURACY = 1e-11
"""Relative accuracy of the curves of large clusters. The pairs of small clusters are summed exactly."""
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
        atoms: The cluster, or several clusters of one element. The unit cell is not used.
        atom_fractions: Fraction of the atoms of the mixture that belong to each cluster. By default all are equal.
            I(Q) of a mixture is that of a mean particle.
        options: All options. A keyword argument below overrides the field of its name.
        signal: Simulated curve: iq, sq, fq or gr.
        qmin: Start of the Q range, in 1/Å.
        qmax: End of the Q range, in 1/Å.
        rmax: End of the r range of G(r), in Å.
        uiso: Isotropic displacement parameter of all atoms, in Å².
        probe: Radiation, xray or neutron.

    Raises:
        ValueError: If an option is not allowed, if an element or ion is not in the table, or if the clusters cannot
            be mixed.
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
    for cluster in clusters:
        check_atoms(cluster, str(cluster))
    return _simulated_curve(clusters, _checked_fractions(clusters, atom_fractions), options)


def uiso_of(options: SimulateOptions) -> float:
    """Return the isotropic displacement parameter U in Å². It is given as U or as B = 8 pi² U."""
    return options.uiso if options.biso is None else options.biso / (8 * np.pi**2)


def _simulated_curve(
    clusters: Sequence[ase.Atoms], share: Float[np.ndarray, " cluster"], options: SimulateOptions
) -> SimulatedCurve:
    """Return the curve of checked clusters and options."""
    signal = options.signal or "gr"
    with jax.enable_x64(True):
        scatterers = pair_distribution.scatterers(
            clusters[0].get_chemical_symbols(), probe=options.probe, ions=options.ions
        )
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
            y = _cluster_curve(jnp.asarray(clusters[0].positions), scatterers, instrument, grid=grid, signal=signal)
        else:
            y = _mixture_curve(
                [cluster.positions for cluster in clusters], share, scatterers, instrument, grid=grid, signal=signal
            )
        return SimulatedCurve(grid.r if signal == "gr" else grid.q, np.asarray(y), grid.qstep)


def _cluster_curve(
    positions: Float[Array, "atom 3"], scatterers: Scatterers, instrument: Instrument, *, grid: Grid, signal: str
) -> Float[Array, " x"]:
    """Return the curve of one cluster. It is compiled as a whole, which is faster than operation by operation."""
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
    """Return the curve of pairs."""
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
    clusters: Sequence[ase.Atoms], atom_fractions: Sequence[float] | None
) -> Float[np.ndarray, " cluster"]:
    """Return the fractions of the atoms that belong to each cluster, with a sum of 1.

    Raises:
        ValueError: If there is no cluster, if a mixture has several elements, or if the fractions are not valid.
    """
    if not clusters:
        raise ValueError("Expected at least one cluster, got none.")
    elements = sorted({symbol for cluster in clusters for symbol in cluster.get_chemical_symbols()})
    if len(clusters) > 1 and len(elements) != 1:
        raise ValueError(
            f"Expected clusters of one element in a mixture, got {', '.join(elements)}; simulate them separately."
        )
    fractions = np.ones(len(clusters)) if atom_fractions is None else np.asarray(atom_fractions, float)
    if fractions.shape != (len(clusters),) or not (fractions >= 0).all() or not 0 < fractions.sum() < np.inf:
        raise ValueError(
            f"Expected a fraction of at least 0 for each of {len(clusters)} clusters, and a sum above 0, got "
            f"{atom_fractions}."
        )
    return fractions / fractions.sum()
