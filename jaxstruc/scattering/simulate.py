"""A cluster's curve with every choice made: what `jaxstruc simulate` and `jaxstruc.simulate` give."""

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
"""Of large clusters' curves, in double precision; small ones are summed exactly."""
SIGNAL_FUNCTIONS = {
    "iq": debye.intensity,
    "sq": debye.structure_function,
    "fq": debye.reduced_structure_function,
}


class SimulatedCurve(NamedTuple):
    """A simulated curve, in double precision."""

    x: Float[np.ndarray, " x"]
    """Q in 1/Å, or r in Å."""
    y: Float[np.ndarray, " x"]
    """I in f² (whole cluster), or in 1/cm at small angles; S, F in 1/Å or G in 1/Å²."""
    qstep: float
    """1/Å"""


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
        atoms: the cluster, or several of one element; a cell is not used.
        atom_fractions: of the atoms, that each of several has; even ones by default. I(Q) is then that of a mean
            particle.
        options: all options. Each keyword below that is given overrides its field.
        signal: iq, sq, fq or gr.
        qmin: start of the Q range, in 1/Å.
        qmax: end of the Q range, in 1/Å.
        rmax: end of G(r), in Å.
        uiso: isotropic displacement of all atoms, in Å².
        probe: xray or neutron.

    Raises:
        ValueError: for options that are not allowed, an element or ion that is in no table, or clusters that cannot be
            mixed.
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
    """Return the isotropic displacement in Å², from U or from B = 8 pi² U."""
    return options.uiso if options.biso is None else options.biso / (8 * np.pi**2)


def _simulated_curve(
    clusters: Sequence[ase.Atoms], share: Float[np.ndarray, " cluster"], options: SimulateOptions
) -> SimulatedCurve:
    """Return the curve of clusters by options that are allowed."""
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
    """Return the curve of atoms; compiled whole, which takes less time than each operation by itself."""
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
    positions: Sequence[Float[np.ndarray, "atom 3"]],
    atom_fractions: Float[np.ndarray, " cluster"],
    scatterers: Scatterers,
    instrument: Instrument,
    *,
    grid: Grid,
    signal: str,
) -> Float[Array, " x"]:
    """Return the curve of a mixture of clusters of one element: the pairs of a mean particle."""
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
    """Return the shares of atoms of clusters, or refuse."""
    if not clusters:
        raise ValueError("Expected a cluster, got none.")
    elements = sorted({symbol for cluster in clusters for symbol in cluster.get_chemical_symbols()})
    if len(clusters) > 1 and len(elements) != 1:
        raise ValueError(
            f"Expected clusters of one element to be mixed, got {', '.join(elements)}; simulate them apart."
        )
    fractions = np.ones(len(clusters)) if atom_fractions is None else np.asarray(atom_fractions, float)
    if fractions.shape != (len(clusters),) or not (fractions >= 0).all() or not 0 < fractions.sum() < np.inf:
        raise ValueError(f"Expected a share of 0 or more for each of {len(clusters)} clusters, got {atom_fractions}.")
    return fractions / fractions.sum()
