"""A cluster's curve with every choice made: what `jaxstruc simulate` and `jaxstruc.simulate` give."""

from typing import NamedTuple

import ase
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstruc.scattering import curves, debye, form_factors
from jaxstruc.scattering.curves import Grid, Scatterers
from jaxstruc.scattering.debye import Instrument

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
    """I in f² (whole cluster), S, F in 1/Å or G in 1/Å²."""
    qstep: float
    """1/Å"""


def simulate(
    atoms: ase.Atoms,
    *,
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
    """Return I(Q), S(Q), F(Q) or G(r) of a cluster, in double precision.

    Args:
        atoms: the cluster; a cell is not used.
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
        ValueError: for a signal that there is not, or an element or ion that is in no table.
    """
    if signal != "gr" and signal not in FUNCTIONS:
        raise ValueError(f"Expected signal iq, sq, fq or gr, got {signal!r}.")
    with jax.enable_x64(True):
        scatterers = curves.scatterers(atoms.get_chemical_symbols(), probe=probe, ions=ions)
        reach = np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1).max()
        longest = 2 * reach + 0.01
        qstep = qstep or min(curves.alias_free_step(rmax, longest), (qmax - qmin) / 2)
        grid = Grid(
            qmin=qmin, qmax=qmax, qstep=qstep, rmin=rmin, rmax=rmax, rstep=rstep,
            longest=longest, accuracy=ACCURACY, lorch=window == "lorch",
        )  # fmt: skip
        instrument = Instrument(uiso=uiso, delta1=delta1, delta2=delta2, qdamp=qdamp, qbroad=qbroad)
        y = _curve(jnp.asarray(atoms.positions), scatterers, instrument, grid=grid, signal=signal)
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
        if signal == "gr":
            return curves.pdf(gathered, coefficients, composition, instrument, grid)
        amplitudes = form_factors.xray(coefficients, jnp.asarray(grid.q))
        return FUNCTIONS[signal](gathered, instrument, amplitudes, composition, grid.q)

    return curve(positions, instrument)
