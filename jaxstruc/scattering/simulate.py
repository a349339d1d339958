"""A cluster's curve with every choice made: what `jaxstruc simulate` and `jaxstruc.simulate` give."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid, Scatterers
from jaxstruc.scattering.debye import Gathered, Instrument

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
    signal: str = "gr",
    qmin: float = 0.0,
    qmax: float = 25.0,
    qstep: float | None = None,
    rmin: float = 0.0,
    rmax: float = 30.0,
    rstep: float = 0.01,
    qdamp: float = 0.0,
    qbroad: float = 0.0,
    uiso: float = 0.005,
    delta1: float = 0.0,
    delta2: float = 0.0,
    probe: str = "xray",
    ions: tuple[str, ...] = (),
    window: str = "sharp",
) -> Curve:
    """Return I(Q), S(Q), F(Q) or G(r) of a cluster, or of a mixture of clusters, in double precision.

    Args:
        atoms: the cluster, or several of one element; a cell is not used.
        shares: of the atoms, that each of several has; even ones by default. I(Q) is then that of a mean particle.
        signal: iq, sq, fq or gr.
        qmin: in 1/Å, as are qmax, qstep, qdamp and qbroad.
        qmax: end of the Q range.
        qstep: by default so fine that no alias enters the r range.
        rmin: in Å, as are rmax and rstep.
        rmax: end of G(r).
        rstep: of G(r).
        qdamp: damping of G(r) by the resolution.
        qbroad: broadening of peaks by the resolution.
        uiso: isotropic displacement of all atoms, in Å².
        delta1: correlated motion that falls with r, in Å.
        delta2: correlated motion that falls with r², in Å².
        probe: xray or neutron.
        ions: whose form factors stand for their elements', as Cu2+.
        window: sharp or lorch.

    Raises:
        ValueError: for a signal that there is not, an element or ion that is in no table, or clusters that cannot be
            mixed.
    """
    clusters = [atoms] if isinstance(atoms, ase.Atoms) else list(atoms)
    share = _shares(clusters, shares)
    if signal != "gr" and signal not in FUNCTIONS:
        raise ValueError(f"Expected signal iq, sq, fq or gr, got {signal!r}.")
    with jax.enable_x64(True):
        scatterers = curves.scatterers(clusters[0].get_chemical_symbols(), probe=probe, ions=ions)
        reach = max(np.linalg.norm(x - x.mean(axis=0), axis=1).max() for x in (one.positions for one in clusters))
        longest = 2 * reach + 0.01
        qstep = qstep or min(curves.alias_free_step(rmax, longest), (qmax - qmin) / 2)
        grid = Grid(
            qmin=qmin, qmax=qmax, qstep=qstep, rmin=rmin, rmax=rmax, rstep=rstep,
            longest=longest, accuracy=ACCURACY, lorch=window == "lorch",
        )  # fmt: skip
        instrument = Instrument(uiso=uiso, delta1=delta1, delta2=delta2, qdamp=qdamp, qbroad=qbroad)
        if len(clusters) == 1:
            y = _curve(jnp.asarray(clusters[0].positions), scatterers, instrument, grid=grid, signal=signal)
        else:
            y = _mixed([one.positions for one in clusters], share, scatterers, instrument, grid=grid, signal=signal)
        return Curve(grid.r if signal == "gr" else grid.q, np.asarray(y), qstep)


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
