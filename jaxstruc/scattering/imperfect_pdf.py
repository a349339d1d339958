r"""Simulated PDFs with the imperfections of measured ones, for tests and experiments.

Each imperfection can be switched on separately. With all of them off, the curve is that of `scattering.simulate`.

- noise: white noise on F(Q), for each point of the Q grid.
- background: a smooth curve that is added to G(r), with wavelengths longer than any bond.
- shell: a layer around each particle that the models of a metal core do not have. It consists of light atoms that are
  bonded to the surface (a ligand) or of metal atoms at diffuse distances (an amorphous layer).
- normalisation: S(Q) is multiplied by a wrong factor, so that F(Q) = Q [S(Q) - 1] gets a term that is linear in Q.
- qmin: the header states a wrong qmin. A file without any qmin is refused, so that it is always stated.
- qdamp: the header states a wrong qdamp or none.
- distribution: the particle is replaced by clusters of its type whose sizes follow a lognormal distribution of volume.
- relaxation: the atoms move towards the positions of least energy by a random amplitude, in a random potential.

All randomness comes from a seed. Each imperfection has random numbers of its own, so that switching one of them does
not change the others. Lengths are in Å and Q is in 1/Å.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist, pdist

from jaxstruc.clusters import random_particles
from jaxstruc.clusters.imperfect_particles import (
    LIGAND_ELEMENT,
    Particles,
    relaxed_particles,
    shell_positions,
    size_distribution,
)
from jaxstruc.clusters.library import Library
from jaxstruc.scattering import debye, form_factors, pair_distribution
from jaxstruc.scattering.debye import Instrument, Pairs
from jaxstruc.scattering.pair_distribution import Grid

IMPERFECTIONS = ("noise", "background", "shell", "normalisation", "qmin", "qdamp", "distribution", "relaxation")
"""Names of the imperfections. The order determines their random numbers."""
NOISE_RANGE, BACKGROUND_RANGE = (0.01, 0.05), (0.02, 0.2)
"""Ranges of the noise, relative to the root mean square of F(Q), and of the background, relative to that of G(r)."""
COVERAGE_RANGE, MAX_NORMALISATION_ERROR, MAX_WIDTH = (0.2, 1.0), 0.05, 0.3
"""Range of the share of the places of a shell that are occupied, largest relative error of the normalisation, and
largest width of a size distribution."""
QMIN_ERROR_RANGE, QDAMP_RATIO_RANGE, STATED_QDAMP_FRACTION = (-0.8, 0.2), (0.5, 1.5), 0.5
"""Range of the stated minus the true qmin in 1/Å, range of the stated qdamp relative to the true qdamp, and fraction of
files that state a qdamp."""
BACKGROUND_WAVELENGTHS = (8.0, 40.0)
"""Range of the wavelengths of the two waves of the background, in Å."""
LIGAND_SHARE = 0.5
"""Fraction of the shells that consist of light atoms. The other shells are amorphous."""
SHELL_UISO_FACTOR = 3.0
"""Uiso of the atoms of a shell divided by that of the core."""
PAIR_BIN = 1e-3
"""Width of the bins in which the distances of pairs are averaged, in Å."""
PAIR_BLOCK = 4096
"""Step for rounding up the number of pairs, so that similar particles share compilations."""

_compiled_structure_function = jax.jit(debye.reduced_structure_function)


class Imperfections(NamedTuple):
    """Values of the imperfections of one PDF. The default is a perfect PDF."""

    noise: float = 0.0
    """Standard deviation of the noise, relative to the root mean square of F(Q)."""
    background: float = 0.0
    """Root mean square of the background, relative to that of G(r)."""
    shell: str = ""
    """Kind of the shell: ligand, amorphous, or empty for none."""
    coverage: float = 0.0
    """Share of the places of the shell that are occupied."""
    normalisation: float = 1.0
    """Factor on S(Q)."""
    qmin_error: float = 0.0
    """Stated minus true qmin, in 1/Å."""
    qdamp_ratio: float | None = 1.0
    """Stated divided by true qdamp, or None if the file states none."""
    width: float = 0.0
    """Standard deviation of the sizes divided by their mean, weighted by volume."""
    relaxation: float = 0.0
    """Amplitude of the displacements: 0 for ideal positions, and 1 for the positions of least energy."""


class ImperfectPdf(NamedTuple):
    """A simulated PDF, what its file states, and what was drawn."""

    r: Float[np.ndarray, " r"]
    """Distances, in Å."""
    g: Float[np.ndarray, " r"]
    """G(r), in 1/Å²."""
    header: dict[str, float | str]
    """Settings that the file states: qmin, qmax and maybe qdamp, in 1/Å."""
    imperfections: Imperfections
    particles: Particles
    """Particles after the relaxation and without shells."""
    shells: tuple[np.ndarray, ...]
    """Positions [atom, 3] of the atoms of the shell of each particle, in Å. They may be empty."""


def draw_imperfections(seed: int, *, names: Sequence[str] = IMPERFECTIONS) -> Imperfections:
    """Return random values of the named imperfections. The other imperfections are absent.

    Args:
        seed: Seed of the random values.
        names: Imperfections that are switched on, from `IMPERFECTIONS`.

    Raises:
        ValueError: If a name is unknown.
    """
    if unknown_names := set(names) - set(IMPERFECTIONS):
        raise ValueError(
            f"Expected imperfections among {', '.join(IMPERFECTIONS)}, got {', '.join(sorted(unknown_names))}."
        )
    numbers = {name: _generator(seed, name, "draw").random(3) for name in names}
    values: dict[str, float | str | None] = {}
    if "noise" in names:
        values["noise"] = _between(NOISE_RANGE, numbers["noise"][0])
    if "background" in names:
        values["background"] = _between(BACKGROUND_RANGE, numbers["background"][0])
    if "shell" in names:
        values["shell"] = "ligand" if numbers["shell"][0] < LIGAND_SHARE else "amorphous"
        values["coverage"] = _between(COVERAGE_RANGE, numbers["shell"][1])
    if "normalisation" in names:
        values["normalisation"] = 1 + MAX_NORMALISATION_ERROR * (2 * numbers["normalisation"][0] - 1)
    if "qmin" in names:
        values["qmin_error"] = _between(QMIN_ERROR_RANGE, numbers["qmin"][0])
    if "qdamp" in names:
        is_stated = numbers["qdamp"][0] < STATED_QDAMP_FRACTION
        values["qdamp_ratio"] = _between(QDAMP_RATIO_RANGE, numbers["qdamp"][1]) if is_stated else None
    if "distribution" in names:
        values["width"] = MAX_WIDTH * numbers["distribution"][0]
    if "relaxation" in names:
        rigid_number, level = map(jnp.asarray, numbers["relaxation"][:2])
        values["relaxation"] = float(random_particles.random_amplitude(rigid_number, level))
    return Imperfections(**values)  # type: ignore[arg-type]


def imperfect_pdf(
    library: Library,
    row: int,
    *,
    element: str,
    instrument: Instrument,
    grid: Grid,
    imperfections: Imperfections,
    seed: int,
) -> ImperfectPdf:
    """Return the PDF of a cluster of a library, with imperfections.

    Args:
        library: Library of the cluster and of the particles of a size distribution.
        row: Row of the cluster in the library.
        element: Symbol of the metal.
        instrument: True parameters of the vibrations and of the instrument.
        grid: Q grid with the true limits, and r grid. Its step of Q is that of the noise, usually 0.02 1/Å.
        imperfections: Values of the imperfections, e.g. from `draw_imperfections`.
        seed: Seed of the noise, the background, the places of the shell, the potential and the sizes.
    """
    particles = size_distribution(library, row, imperfections.width, _generator(seed, "distribution", "apply"))
    return imperfect_pdf_of_particles(
        particles, element=element, instrument=instrument, grid=grid, imperfections=imperfections, seed=seed
    )


def imperfect_pdf_of_particles(
    particles: Particles,
    *,
    element: str,
    instrument: Instrument,
    grid: Grid,
    imperfections: Imperfections,
    seed: int,
) -> ImperfectPdf:
    """Return the PDF of a sample of given particles, with all imperfections but the size distribution.

    The arguments are those of `imperfect_pdf`.
    """
    particles = relaxed_particles(particles, imperfections.relaxation, _generator(seed, "relaxation", "apply"))
    shell_rng = _generator(seed, "shell", "apply")
    bond = form_factors.bond_length(element)
    shells = [
        shell_positions(positions * bond, imperfections.shell, imperfections.coverage, bond, shell_rng)
        for positions in particles.positions
    ]
    elements = [element, LIGAND_ELEMENT if imperfections.shell == "ligand" else element]
    with jax.enable_x64(True):
        f = _reduced_structure_function(particles, shells, bond, elements, instrument, grid)
        noise_level = imperfections.noise * float(np.sqrt(np.mean(f**2)))
        noise = noise_level * _generator(seed, "noise", "apply").normal(size=f.size)
        f = imperfections.normalisation * f + (imperfections.normalisation - 1) * grid.q
        # The detector's noise enters after the resolution has damped the signal.
        g = _transform(f, instrument, grid) + _transform(noise, Instrument(scale=instrument.scale), grid)
    g = g + imperfections.background * np.sqrt(np.mean(g**2)) * smooth_background(
        grid.r, _generator(seed, "background", "apply")
    )
    header = _stated_settings(instrument, grid, imperfections)
    return ImperfectPdf(grid.r, g, header, imperfections, particles, tuple(shells))


def smooth_background(r: Float[np.ndarray, " r"], rng: np.random.Generator) -> Float[np.ndarray, " r"]:
    """Return the sum of two waves of random length and phase, with a root mean square of 1."""
    wavelengths, phases = rng.uniform(*BACKGROUND_WAVELENGTHS, (2, 1)), rng.uniform(0, 2 * np.pi, (2, 1))
    curve = np.cos(2 * np.pi * r / wavelengths + phases).sum(axis=0)
    return curve / np.sqrt(np.mean(curve**2))


def _reduced_structure_function(
    particles: Particles,
    shells: Sequence[np.ndarray],
    bond: float,
    elements: Sequence[str],
    instrument: Instrument,
    grid: Grid,
) -> Float[np.ndarray, " q"]:
    """Return F(Q) of a mixture of particles with shells, in 1/Å. The atoms of the shells are of the second kind."""
    numbers = particles.atom_fractions / np.array([len(positions) for positions in particles.positions])
    numbers = numbers / numbers.sum()
    columns: list[tuple[np.ndarray, np.ndarray, int, int]] = []
    for positions, shell, number in zip(particles.positions, shells, numbers, strict=True):
        core = positions * bond
        for distance, kind_pair in (
            (pdist(core), (0, 0)),
            (cdist(core, shell).ravel(), (0, 1)),
            (pdist(shell), (1, 1)),
        ):
            columns.append((distance, np.full(distance.size, 2 * number), *kind_pair))
    pairs = _merged_pairs(columns)
    composition = np.array(
        [
            sum(number * len(group) for number, group in zip(numbers, groups, strict=True))
            for groups in (particles.positions, shells)
        ]
    )
    amplitudes = form_factors.xray_form_factors(form_factors.xray_coefficients(list(elements)), jnp.asarray(grid.q))
    uiso = jnp.asarray(instrument.uiso) * jnp.array([1.0, SHELL_UISO_FACTOR])
    shell_instrument = instrument._replace(uiso=uiso)
    return np.asarray(_compiled_structure_function(pairs, shell_instrument, amplitudes, composition, grid.q))


def _merged_pairs(columns: Sequence[tuple[np.ndarray, np.ndarray, int, int]]) -> Pairs:
    """Return pairs whose distances are means over bins of `PAIR_BIN`, with padding.

    Args:
        columns: Distances, weights, and first and second kind of the pairs of each particle.
    """
    merged: list[np.ndarray] = []
    for kind_pair in sorted({entry[2:] for entry in columns}):
        distance = np.concatenate([entry[0] for entry in columns if entry[2:] == kind_pair])
        weight = np.concatenate([entry[1] for entry in columns if entry[2:] == kind_pair])
        bins = (distance / PAIR_BIN).astype(np.int64)
        total = np.bincount(bins, weight)
        is_filled = total > 0
        mean = np.bincount(bins, weight * distance)[is_filled] / total[is_filled]
        merged.append(np.stack([mean, total[is_filled], *np.multiply.outer(kind_pair, np.ones(len(mean)))]))
    distance, weight, first_kind, second_kind = np.concatenate(merged, axis=1)
    padding = (0, -len(distance) % PAIR_BLOCK)
    return Pairs(
        jnp.asarray(np.pad(distance, padding, constant_values=1.0)),
        jnp.asarray(np.pad(weight, padding)),
        np.pad(first_kind.astype(np.int32), padding),
        np.pad(second_kind.astype(np.int32), padding),
    )


def _transform(f: np.ndarray, instrument: Instrument, grid: Grid) -> np.ndarray:
    """Return G(r) of F(Q) in 1/Å², in double precision."""
    return np.asarray(pair_distribution.pdf_from_f(jnp.asarray(f), instrument, grid))


def _stated_settings(instrument: Instrument, grid: Grid, imperfections: Imperfections) -> dict[str, float | str]:
    """Return what the header of the file states."""
    header: dict[str, float | str] = {
        "qmin": max(float(grid.q[0]) + imperfections.qmin_error, 0.0),
        "qmax": float(grid.q[-1]),
    }
    if imperfections.qdamp_ratio is not None:
        header["qdamp"] = float(instrument.qdamp) * imperfections.qdamp_ratio
    return header


def _generator(seed: int, name: str, purpose: str) -> np.random.Generator:
    """Return the random generator of an imperfection, for its values (draw) or for its random curves (apply)."""
    return np.random.default_rng([seed, IMPERFECTIONS.index(name), ("draw", "apply").index(purpose)])


def _between(limits: tuple[float, float], number: float) -> float:
    """Return the value at a fraction of a range."""
    return limits[0] + (limits[1] - limits[0]) * float(number)
