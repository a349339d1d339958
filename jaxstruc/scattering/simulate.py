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

from jaxstruc.options.simulation import Probe, Signal, SimulateOptions
from jaxstruc.options.validation import override
from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid, Scatterers
from jaxstruc.scattering.debye import Gathered, Instrument
from jaxstruc.structures.atoms import check_atoms

ACCURACY = 1e-11
"""Of large clusters' curves, in double precision; small ones are summed exactly."""
FUNCTIONS = {
    "iq": debye.intensity,
    "sq": debye.structure_function,
    "fq": debye.reduced_structure_function,
}


class Curve(NamedTuple):
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
    shares: Sequence[float] | None = None,
    options: SimulateOptions | None = None,
    signal: Signal | None = None,
    qmin: float | None = None,
    qmax: float | None = None,
    rmax: float | None = None,
    uiso: float | None = None,
    probe: Probe | None = None,
) -> Curve:
    """Return I(Q), S(Q), F(Q) or G(r) of a cluster, or of a mixture of clusters, in double precision.

    Args:
        atoms: the cluster, or several of one element; a cell is not used.
        shares: of the atoms, that each of several has; even ones by default. I(Q) is then that of a mean particle.
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
    return _simulated(clusters, _shares(clusters, shares), options)


def uiso_of(options: SimulateOptions) -> float:
    """Return the isotropic displacement in Å², from U or from B = 8 pi² U."""
    return options.uiso if options.biso is None else options.biso / (8 * np.pi**2)


def _simulated(clusters: Sequence[ase.Atoms], share: Float[np.ndarray, " cluster"], options: SimulateOptions) -> Curve:
    """Return the curve of clusters by options that are allowed."""
    signal = options.signal
    with jax.enable_x64(True):
        scatterers = curves.scatterers(clusters[0].get_chemical_symbols(), probe=options.probe, ions=options.ions)
        reach = max(np.linalg.norm(x - x.mean(axis=0), axis=1).max() for x in (one.positions for one in clusters))
        longest = 2 * reach + 0.01
        qmin, qmax = options.q_range
        fine = min(curves.alias_free_step(options.rmax, longest), (qmax - qmin) / 2)
        grid = Grid(
            qmin=qmin, qmax=qmax, qstep=options.qstep or fine, rmin=options.rmin, rmax=options.rmax,
            rstep=options.rstep, longest=longest, accuracy=ACCURACY, lorch=options.window == "lorch",
        )  # fmt: skip
        instrument = Instrument(
            uiso=uiso_of(options), delta1=options.delta1, delta2=options.delta2, qdamp=options.qdamp,
            qbroad=options.qbroad,
        )  # fmt: skip
        if len(clusters) == 1:
            y = _curve(jnp.asarray(clusters[0].positions), scatterers, instrument, grid=grid, signal=signal)
        else:
            y = _mixed([one.positions for one in clusters], share, scatterers, instrument, grid=grid, signal=signal)
        return Curve(grid.r if signal == "gr" else grid.q, np.asarray(y), grid.qstep)


def _curve(
    positions: Float[Array, "atom 3"], scatterers: Scatterers, instrument: Instrument, *, grid: Grid, signal: str
) -> Float[Array, " x"]:
    """Return the curve of atoms; compiled whole, which takes less time than each operation by itself."""
    coefficients, composition = scatterers.coefficients, scatterers.composition

    @jax.jit
    def curve(positions, instrument):
        mask, count = np.ones(len(positions), bool), len(scatterers.names)
        gathered = curves.gather(positions, mask, grid, kinds=scatterers.kinds, count=count)
        return _of_pairs(gathered, coefficients, composition, instrument, grid=grid, signal=signal)

    return curve(positions, instrument)


def _of_pairs(gathered: Gathered, coefficients, composition, instrument: Instrument, *, grid: Grid, signal: str):
    """Return the curve of pairs."""
    if signal == "gr":
        return curves.pdf(gathered, coefficients, composition, instrument, grid)
    amplitudes = form_factors.xray(coefficients, jnp.asarray(grid.q))
    return FUNCTIONS[signal](gathered, instrument, amplitudes, composition, grid.q)


def _mixed(
    positions: Sequence[Float[np.ndarray, "atom 3"]],
    share: Float[np.ndarray, " cluster"],
    scatterers: Scatterers,
    instrument: Instrument,
    *,
    grid: Grid,
    signal: str,
) -> Float[Array, " x"]:
    """Return the curve of a mixture of clusters of one element: the pairs of a mean particle."""
    count = np.array([len(one) for one in positions])
    particles = share / count / np.sum(share / count)
    size = int(count.max())

    @jax.jit
    def spread(positions, mask):
        return debye.spread_positions(positions, mask, np.zeros(size, np.int32), curves.nodes(grid), count=1)

    total: Gathered | None = None
    for one, part in zip(positions, particles, strict=True):
        padded = jnp.asarray(np.pad(one, ((0, size - len(one)), (0, 0))))
        found = spread(padded, jnp.asarray(np.arange(size) < len(one)))
        weight = part * found.weight
        total = found._replace(weight=weight if total is None else total.weight + weight)
    composition = np.array([float(particles @ count)])
    return jax.jit(partial(_of_pairs, grid=grid, signal=signal))(
        total, scatterers.coefficients, composition, instrument
    )


def _shares(clusters: Sequence[ase.Atoms], shares: Sequence[float] | None) -> Float[np.ndarray, " cluster"]:
    """Return the shares of atoms of clusters, or refuse."""
    if not clusters:
        raise ValueError("Expected a cluster, got none.")
    elements = sorted({symbol for one in clusters for symbol in one.get_chemical_symbols()})
    if len(clusters) > 1 and len(elements) != 1:
        raise ValueError(
            f"Expected clusters of one element to be mixed, got {', '.join(elements)}; simulate them apart."
        )
    found = np.ones(len(clusters)) if shares is None else np.asarray(shares, float)
    if found.shape != (len(clusters),) or not (found >= 0).all() or not 0 < found.sum() < np.inf:
        raise ValueError(f"Expected a share of 0 or more for each of {len(clusters)} clusters, got {shares}.")
    return found / found.sum()
