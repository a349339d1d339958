"""Make the pictures of the documents, and print the answers that their text quotes.

    python docs/make_images.py [NAME ...]        (all: about five minutes on two cores)

Each picture belongs to one function, whose name is the name of the file in docs/images. All data are simulated.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.figure
import numpy as np
from ase.cluster import Decahedron, Octahedron

import jaxstruc
from jaxstruc.clusters import polydisperse
from jaxstruc.options.pdf import DataOptions, MineOptions, RefineOptions
from jaxstruc.options.simulation import SimulateOptions
from jaxstruc.report import figures
from jaxstruc.scattering.simulate import SimulatedCurve

IMAGES = Path(__file__).with_name("images")
EXAMPLE = Path(__file__).parents[1] / "examples" / "Ag68_simulated.gr"
QMIN, QMAX, QSTEP = 0.8, 22.0, 0.02
PERFECT_RESOLUTION = DataOptions(qdamp=0.0)
"""The curves are simulated without damping by the resolution."""


def write_pdf(path: Path, f_of_q: SimulatedCurve, *, noise: float, seed: int = 0) -> Path:
    """Write F(Q) with white noise as a file and return its path.

    Args:
        path: Path of the file, which ends in .fq.
        f_of_q: The simulated curve without noise.
        noise: Standard deviation of the noise over the root mean square of F(Q).
        seed: Seed of the noise.
    """
    sigma = noise * np.sqrt(np.mean(f_of_q.y**2))
    noisy_f = f_of_q.y + np.random.default_rng(seed).normal(0, sigma, len(f_of_q.y))
    rows = "".join(f"{q:.3f} {value:.6g}\n" for q, value in zip(f_of_q.x, noisy_f, strict=True))
    path.write_text(f"# Q(1/A) F(Q)\n{rows}", "utf-8")
    return path


def simulated_pdf(atoms, *, noise: float, qmax: float = QMAX, name: str, fractions=None) -> jaxstruc.Measurement:
    """Return the measurement of one cluster, or of a mixture of clusters, with noise."""
    options = SimulateOptions(signal="fq", qmin=QMIN, qmax=qmax, qstep=QSTEP, uiso=0.006)
    curve = jaxstruc.simulate(atoms, options=options, atom_fractions=fractions)
    with tempfile.TemporaryDirectory() as folder:
        return jaxstruc.read(write_pdf(Path(folder) / f"{name}.fq", curve, noise=noise))


def example_fit() -> matplotlib.figure.Figure:
    """Return the fit of the example that ships with the project."""
    return report(jaxstruc.solve(jaxstruc.read(EXAMPLE), element="Ag")).plot()


def near_ties() -> matplotlib.figure.Figure:
    """Return Rw against size for noisy data of a Marks decahedron with 146 atoms, to which several candidates fit."""
    data = simulated_pdf(Decahedron("Pt", 3, 2, 1), noise=0.4, qmax=14.0, name="decahedron")
    options = MineOptions(data=PERFECT_RESOLUTION, ensemble="none")
    return figures.families(report(jaxstruc.mine(data, element="Pt", options=options)))


def weak_fit() -> matplotlib.figure.Figure:
    """Return the fit of a cuboctahedron to data of a decahedron, which it does not explain."""
    data = simulated_pdf(Decahedron("Pt", 3, 2, 1), noise=0.03, name="decahedron")
    options = RefineOptions(data=PERFECT_RESOLUTION)
    return report(jaxstruc.refine(data, Octahedron("Pt", 7, 3), options=options)).plot()


def distribution_of_sizes() -> matplotlib.figure.Figure:
    """Return the distribution that is found for particles of 25 Å with a width of 20 %."""
    bond = 2.775
    population = polydisperse.particle_population("fcc", mean=25 / bond, width=0.2)
    atoms = [cluster.to_ase("Pt", bond) for cluster in population.clusters]
    data = simulated_pdf(atoms, noise=0.03, name="distribution")
    options = MineOptions(data=PERFECT_RESOLUTION)
    return report(jaxstruc.mine(data, element="Pt", options=options)).plot_distribution()


def sizes_from_saxs() -> matplotlib.figure.Figure:
    """Return the fit to noisy small-angle data of spheres, which do not determine the shape."""
    q, intensity, _ = jaxstruc.simulate_saxs(
        "sphere", radius=35.0, pd=0.1, distribution="lognormal", qmin=0.01, qmax=0.4
    )
    counts = np.random.default_rng(0).poisson(100 * intensity + 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noisy.dat"
        np.savetxt(path, np.stack([q, counts, np.sqrt(counts + 1)], axis=1), "%.6g", header="Q (1/A)  I  sigma")
        return report(jaxstruc.saxs(jaxstruc.read(path), element="Au")).plot()


def report(result: jaxstruc.Result) -> jaxstruc.Result:
    """Print what the text quotes of a result, and return it."""
    print(result)
    if interval := result.intervals.get("n_atoms"):
        print(f"number of atoms {interval.low:g} to {interval.high:g}; status {result.status}; {result.message}")
    return result


IMAGE_FUNCTIONS = (example_fit, near_ties, weak_fit, distribution_of_sizes, sizes_from_saxs)


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    for function in IMAGE_FUNCTIONS:
        if not names or function.__name__ in names:
            function().savefig(IMAGES / f"{function.__name__}.png", dpi=70)


if __name__ == "__main__":
    main(sys.argv[1:])
