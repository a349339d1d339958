"""Simulate the example PDF of a silver cluster with counting noise.

    python examples/make_example.py

The cluster consists of the 68 atoms of fcc silver nearest to an octahedral hole. Its shape is not in the training data
of the shipped autoencoder, whose shapes all have an atom at the centre. The Debye equation gives I(Q) from 1.0 to
22.0 1/Å. After Poisson noise has been added, I(Q) is transformed to G(r), which is damped as by an instrument.
"""

from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import ase.build
import jax.numpy as jnp
import numpy as np

from jaxstruc import files
from jaxstruc.clusters import fcc_shapes
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument
from jaxstruc.scattering.pair_distribution import Grid

OUT = Path(__file__).with_name("Ag68_simulated.gr")
BOND = 2.90
"""Nearest-neighbour distance, in Å."""
GRID = Grid(qmin=1.0, qmax=22.0, qstep=0.02, rmin=0.0, rmax=30.0, rstep=0.01)
COUNTS = 2e5
"""Number of counts at the highest Q."""
INSTRUMENT = Instrument(uiso=0.009, delta2=2.0, qdamp=0.03)


def cluster() -> np.ndarray:
    """Return the positions of the 68 atoms in Å."""
    bulk = ase.build.bulk("Ag", "fcc", a=BOND * np.sqrt(2), cubic=True).repeat(7)
    hole = bulk.cell.sum(axis=0) / 2
    distance = np.linalg.norm(bulk.positions - hole, axis=1)
    return bulk.positions[np.argsort(distance, kind="stable")[:68]] - hole


def main() -> None:
    """Simulate the example PDF and write it to `OUT`."""
    positions = cluster()
    library_fingerprints = {fcc_shapes.fingerprint(shape.positions) for shape in fcc_shapes.fcc_family()}
    assert fcc_shapes.fingerprint(positions / BOND) not in library_fingerprints
    q = jnp.asarray(GRID.q)
    f = form_factors.xray_form_factors(form_factors.xray_coefficients(["Ag"]), q)
    atoms = jnp.full(1, float(len(positions)))
    pairs = debye.pairs_from_positions(jnp.asarray(positions), np.ones(len(positions)))
    intensity = np.asarray(debye.intensity(pairs, INSTRUMENT, f, atoms, q))
    gain = COUNTS / intensity[-1]
    noisy_intensity = np.random.default_rng(0).poisson(gain * intensity) / gain
    self_scattering = len(positions) * np.asarray(f[0]) ** 2
    # For one element, N <f>^2 equals the sum of f^2.
    reduced = q * (noisy_intensity - self_scattering) / self_scattering
    g = np.asarray(pair_distribution.pdf_from_f(reduced, INSTRUMENT, GRID))
    header = (
        f"# simulated, not measured: Ag68, fcc around an octahedral hole, bonds {BOND} A, uiso {INSTRUMENT.uiso} A^2,\n"
        f"# delta2 {INSTRUMENT.delta2} A^2, qdamp {INSTRUMENT.qdamp} 1/A, Poisson noise of {COUNTS:g} counts at qmax\n"
        f"[DEFAULT]\nmode = xray\ncomposition = Ag\noutputtype = gr\nqmin = {GRID.qmin}\nqmax = {GRID.qmax}\n"
        f"qdamp = {INSTRUMENT.qdamp}\nrmin = 0.0\nrmax = 30.0\nrstep = 0.01\n\n#### start data\n"
        "#S 1\n#L r($\\AA$)  G($\\AA^{-2}$)\n"
    )
    rows = "".join(f"{x:.2f} {y:.6g}\n" for x, y in zip(GRID.r, g, strict=True))
    files.write_text(OUT, header + rows)
    print(OUT)


if __name__ == "__main__":
    main()
