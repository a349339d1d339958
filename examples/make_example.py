"""Simulate the example PDF: a silver cluster whose shape is not in the training set, with counting noise.

    python examples/make_example.py

The 68 atoms of fcc silver nearest to an octahedral hole (all shapes of the training set have an atom at the centre).
I(Q) by the Debye equation, counted with Poisson noise, cut to 1.0-22.0 1/Å, transformed and damped as an instrument
would.
"""

from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import ase.build
import jax.numpy as jnp
import numpy as np

from jaxstruc import clusters, files, form_factors, scattering
from jaxstruc.scattering import Instrument

OUT = Path(__file__).with_name("Ag68_simulated.gr")
BOND = 2.90
QMIN, QMAX, QSTEP = 1.0, 22.0, 0.02
COUNTS = 2e5
"""Counts a point at the highest Q."""
INSTRUMENT = Instrument(uiso=0.009, delta2=2.0, qdamp=0.03)


def cluster() -> np.ndarray:
    """Return the positions of the 68 atoms, in Å."""
    bulk = ase.build.bulk("Ag", "fcc", a=BOND * np.sqrt(2), cubic=True).repeat(7)
    hole = bulk.cell.sum(axis=0) / 2
    away = np.linalg.norm(bulk.positions - hole, axis=1)
    return bulk.positions[np.argsort(away, kind="stable")[:68]] - hole


def main() -> None:
    """Write the example."""
    positions = cluster()
    shapes = {clusters.fingerprint(shape.positions) for shape in clusters.fcc_family()}
    assert clusters.fingerprint(positions / BOND) not in shapes
    q = jnp.arange(QMIN, QMAX + QSTEP / 2, QSTEP)
    f = form_factors.xray(form_factors.coefficients(["Ag"]), q)
    atoms = jnp.full(1, float(len(positions)))
    pairs = scattering.pairs_of(jnp.asarray(positions), np.ones(len(positions)))
    intensity = np.asarray(scattering.intensity(pairs, INSTRUMENT, f, atoms, q))
    gain = COUNTS / intensity[-1]
    counted = np.random.default_rng(0).poisson(gain * intensity) / gain
    own = len(positions) * np.asarray(f[0]) ** 2
    reduced = q * (counted - own) / own  # one element: N <f>^2 is the sum of f^2
    r = jnp.arange(3001) * 0.01
    g = scattering.envelope(INSTRUMENT, r) * scattering.sine_transform(
        reduced, q, scattering.q_weights(q, QMIN, QMAX), r
    )
    header = (
        f"# simulated, not measured: Ag68, fcc around an octahedral hole, bonds {BOND} A, uiso {INSTRUMENT.uiso} A^2,\n"
        f"# delta2 {INSTRUMENT.delta2} A^2, qdamp {INSTRUMENT.qdamp} 1/A, Poisson noise of {COUNTS:g} counts at qmax\n"
        f"[DEFAULT]\nmode = xray\ncomposition = Ag\noutputtype = gr\nqmin = {QMIN}\nqmax = {QMAX}\n"
        f"qdamp = {INSTRUMENT.qdamp}\nrmin = 0.0\nrmax = 30.0\nrstep = 0.01\n\n#### start data\n"
        "#S 1\n#L r($\\AA$)  G($\\AA^{-2}$)\n"
    )
    rows = "".join(f"{x:.2f} {y:.6g}\n" for x, y in zip(np.asarray(r), np.asarray(g), strict=True))
    files.write_text(OUT, header + rows)
    print(OUT)


if __name__ == "__main__":
    main()
