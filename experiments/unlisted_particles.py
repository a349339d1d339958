"""Claim: a search over lattice sites solves particles that no library lists, with an interval for their size.

    python experiments/unlisted_particles.py offrule scale    (about 10 s for each case on 2 cores; resumes)
    python experiments/unlisted_particles.py --shard 1/8      (every eighth case; each process has its own --out)
    python experiments/unlisted_particles.py --quick          (a case of two parts and a small library, under a minute)

Platinum particles are simulated with qmin 0.8 and qmax 18 to 25 1/Å, and r up to 30 Å (large: 40 Å). qdamp is known,
but Uiso, delta2 and stretch are not. White noise on F(Q) is given for each point of a 0.02 1/Å grid. The particles are
those of `synthetic_particles.py`, with 35 to 320 atoms.

The parts are:

- offrule: cuts of lattices and stacks, cuts off the centre of five-fold particles, incomplete shells, and missing
  edges, without noise and with 3 and 10 % of noise, on an absolute scale, with --search quick.
- full: as offrule, with --search full.
- scale: 3 % of noise and unknown scales of 0.6 to 1.6.
- large: 200 to 1000 atoms, 3 % of noise.
- displaced5, displaced10: atoms displaced by 0.05 and 0.1 Å.
- contracted: particles with a contracted surface.
- rules: particles of DeepStruc's rules on larger grids, without noise, on an absolute scale.
- Controls with the particles of offrule and one seed: library (no search), network (no search, with candidates of the
  network), random (a search of all packings from the size estimated from the data), and unshaped, half and double
  (other weights of the shape prior).
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import evaluation
import jax
import jax.numpy as jnp
import json_rows
import measured_pdfs
import numpy as np
import synthetic_particles
from ase import Atoms
from scipy.spatial.distance import pdist

from jaxstruc import Measurement, Result
from jaxstruc.api import make_refine_plan, make_solve_plan
from jaxstruc.clusters import size_classes, structure_type
from jaxstruc.clusters.distances import histogram
from jaxstruc.io import measurement as measurement_settings
from jaxstruc.options.pdf import (
    DataOptions,
    FitOptions,
    LibraryOptions,
    RefineOptions,
    ScreenName,
    SearchName,
    SolveOptions,
    SourceName,
)
from jaxstruc.parameters import PARAMETERS
from jaxstruc.pdf import screening, site_search
from jaxstruc.pdf.fit import FitValues
from jaxstruc.pdf.site_search import SHAPE_PRIOR_WEIGHT
from jaxstruc.pdf.solve import PdfPlan, solve_measurements
from jaxstruc.pdf.target import Target
from jaxstruc.scattering import form_factors

RESULTS = Path(__file__).parent / "results"
BOND = form_factors.bond_length("Pt")
N_SEEDS, N_DRAWS = 3, 10
FIRST_SEED = 6000
"""First seed of the reported cases; smaller seeds were used for tuning."""
ORIGINAL_SEARCH = site_search.search_lattice_sites
CONGRUENT_TOLERANCE = 0.02
"""Largest difference between the distances of congruent particles, in Å."""
MAX_COORDINATE_ERROR = 0.1
"""Largest mean coordinate error of a solved particle, in Å."""


@dataclass(frozen=True)
class CaseSet:
    """The settings with which the cases of a part are simulated and solved."""

    particle_kinds: tuple[str, ...] = synthetic_particles.OFF_RULE_KINDS
    noises: tuple[float, ...] = (0.03,)
    seeds: int = 1
    absolute: bool = True
    search: SearchName = "quick"
    shape_weight: float = SHAPE_PRIOR_WEIGHT
    atom_range: tuple[int, int] = (35, 320)
    rmax: float = 30.0
    displacement: float = 0.0
    """Root mean square displacement of the atoms, in Å."""
    contraction: float = 0.0
    sources: tuple[SourceName, ...] = ("library",)
    screen: ScreenName = "none"


CASE_SETS = {
    "offrule": CaseSet(noises=(0.0, 0.03, 0.1), seeds=N_SEEDS),
    "full": CaseSet(noises=(0.0, 0.03), search="full"),
    "scale": CaseSet(seeds=N_SEEDS, absolute=False),
    "large": CaseSet(atom_range=(200, 1000), rmax=40.0),
    "rules": CaseSet(particle_kinds=synthetic_particles.RULE_KINDS, noises=(0.0,), seeds=N_SEEDS),
    "displaced5": CaseSet(displacement=0.05),
    "displaced10": CaseSet(displacement=0.1),
    "contracted": CaseSet(contraction=0.03),
    "library": CaseSet(noises=(0.0, 0.03, 0.1), search="none"),
    "library rules": CaseSet(particle_kinds=synthetic_particles.RULE_KINDS, noises=(0.0,), search="none"),
    "network": CaseSet(search="none", sources=("network", "library")),
    "screened": CaseSet(noises=(0.0, 0.03, 0.1), seeds=N_SEEDS, screen="classifier"),
    "screened rules": CaseSet(
        particle_kinds=synthetic_particles.RULE_KINDS, noises=(0.0,), seeds=N_SEEDS, screen="classifier"
    ),
    "random": CaseSet(),
    "unshaped": CaseSet(shape_weight=0.0),
    "half": CaseSet(shape_weight=0.5 * SHAPE_PRIOR_WEIGHT),
    "double": CaseSet(shape_weight=2 * SHAPE_PRIOR_WEIGHT),
}


class ParticleCase(NamedTuple):
    """A simulated particle with its measurement."""

    labels: dict[str, Any]
    """Part, kind, seed, draw and noise."""
    particle: synthetic_particles.Particle
    measurement: Measurement
    """Simulated data with all settings."""


def case_labels(part: str, case_set: CaseSet, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the labels of the cases of a part."""
    for seed in range(case_set.seeds):
        for draw in range(draws):
            for kind in case_set.particle_kinds:
                for noise in case_set.noises:
                    yield {"part": part, "kind": kind, "seed": seed, "draw": draw, "noise": noise}


def simulate_case(labels: dict[str, Any], case_set: CaseSet) -> ParticleCase:
    """Return the case with these labels. The parts share particles and instruments."""
    kind = labels["kind"]
    kind_index = (
        *synthetic_particles.OFF_RULE_KINDS,
        *(f"rule {rule_kind}" for rule_kind in synthetic_particles.RULE_KINDS),
    ).index(f"rule {kind}" if case_set.particle_kinds == synthetic_particles.RULE_KINDS else kind)
    rng = np.random.default_rng([FIRST_SEED + labels["seed"], labels["draw"], kind_index])
    if case_set.particle_kinds == synthetic_particles.RULE_KINDS:
        particle = synthetic_particles.draw_rule_particle(kind, rng)
    else:
        particle = synthetic_particles.draw_off_rule_particle(
            kind, rng, min_atoms=case_set.atom_range[0], max_atoms=case_set.atom_range[1]
        )
    if case_set.contraction:
        particle = synthetic_particles.contract_surface(particle, case_set.contraction)
    if case_set.displacement:
        particle = synthetic_particles.displace_atoms(particle, rng, case_set.displacement / BOND)
    values = {
        "qmin": 0.8, "qmax": rng.uniform(18.0, 25.0), "qdamp": rng.uniform(0.01, 0.04),
        "uiso": rng.uniform(0.004, 0.012), "delta2": rng.uniform(1.0, 4.0), "stretch": rng.uniform(0.985, 1.015),
    }  # fmt: skip
    scale = 1.0 if case_set.absolute else math.exp(rng.uniform(math.log(0.6), math.log(1.6)))
    r, g = simulate_pdf(particle.positions, values, labels["noise"], case_set.rmax, rng)
    settings = DataOptions(qmin=0.8, qmax=values["qmax"], qdamp=values["qdamp"], rmax=case_set.rmax)
    measurement = Measurement("-".join(map(str, labels.values())) + ".gr", r, scale * g, {})
    return ParticleCase(labels, particle, measurement_settings.resolve_settings(measurement, settings, bond=BOND))


def simulate_pdf(positions: np.ndarray, values: dict[str, float], noise: float, rmax: float, rng: np.random.Generator):
    """Return r and G(r) of a particle, with white noise on F(Q)."""
    return noisy_pdf(*structure_function(positions, values), values["qdamp"], noise, rmax, rng)


def structure_function(positions: np.ndarray, values: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return Q and F(Q) of a particle."""
    pair_histogram = histogram(positions, width=5e-4)
    distance = np.asarray(pair_histogram.mean, float) * BOND * values["stretch"]
    return pair_structure_function(distance, np.asarray(pair_histogram.weight, float) / len(positions), values)


def pair_structure_function(
    distance: np.ndarray, weight: np.ndarray, values: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return Q and F(Q) of pairs of atoms.

    Args:
        distance: Distances in Å [pair].
        weight: Number of pairs with each distance for each atom of the sample [pair].
        values: Values of qmin and qmax in 1/Å, and of uiso and delta2 in Å².
    """
    q = np.linspace(values["qmin"], values["qmax"], round((values["qmax"] - values["qmin"]) / measured_pdfs.QSTEP) + 1)
    variance = 2 * values["uiso"] * np.maximum(1 - values["delta2"] / distance**2, 0.0)
    f = np.zeros(q.size)
    for start in range(0, len(distance), 256):
        block = slice(start, start + 256)
        sines = np.sin(q[:, None] * distance[block]) * np.exp(-0.5 * variance[block] * q[:, None] ** 2)
        f += sines @ (weight[block] / distance[block])
    return q, f


def noisy_pdf(q: np.ndarray, f: np.ndarray, qdamp: float, noise: float, rmax: float, rng: np.random.Generator):
    """Return r and G(r) for F(Q) with white noise, which the resolution does not damp."""
    r = np.arange(1.5, rmax + 1e-6, 0.05)
    noise_values = noise * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size)
    transform_matrix = measured_pdfs.transform(q, r, qdamp=0.0)
    return r, np.exp(-0.5 * (r * qdamp) ** 2) * (transform_matrix @ f) + transform_matrix @ noise_values


def solve_plan(case_set: CaseSet, max_atoms: int) -> PdfPlan:
    """Return the plan with which the cases of a part are solved."""
    options = SolveOptions(
        case_set.sources, fit=FitOptions(absolute=case_set.absolute), candidates=LibraryOptions((), max_atoms),
        search=case_set.search, ensemble="none", screen=case_set.screen, types="all",
    )  # fmt: skip
    return make_solve_plan("Pt", options)._replace(shape_weight=case_set.shape_weight)


def result_row(case: ParticleCase, result: Result, truth_rw: float) -> dict[str, Any]:
    """Return the row of a case."""
    particle = case.particle
    row = {
        **case.labels,
        "atoms": len(particle.positions),
        "type": particle.type,
        "word": particle.sequence,
        "hexagonal": particle.hexagonal,
        "status": result.status,
        "seconds": result.facts.get("seconds"),
        "truth_rw": truth_rw,
    }
    if not result.candidates or result.best.atoms is None:
        return row
    best_candidate, positions = result.best, result.best.atoms.positions
    stretch = float(
        np.mean(np.sort(pdist(positions))[: len(positions)])
        / np.mean(np.sort(pdist(particle.positions))[: len(positions)])
    )
    scaled_positions = particle.positions * stretch
    quantile_distance = distance_error(positions, scaled_positions)
    has_right_count = len(positions) == len(scaled_positions)
    atom_interval = result.intervals["n_atoms"]
    has_layers = "hexagonal" in result.intervals
    return row | {
        "source": best_candidate.source,
        "found_type": best_candidate.type,
        "found_atoms": best_candidate.n_atoms,
        "rw": best_candidate.rw,
        "n_low": atom_interval.low,
        "n_high": atom_interval.high,
        "w1": quantile_distance,
        "found_hexagonal": best_candidate.hexagonal if has_layers else None,
        "error": coordinate_error(scaled_positions, positions)
        if has_right_count and quantile_distance < MAX_COORDINATE_ERROR
        else None,
        "p_type": result.types.get(particle.type, 0.0),
        "found_word": structure_type.stacking_sequence(positions) if particle.sequence else "",
    }


def distance_error(positions: np.ndarray, true_positions: np.ndarray) -> float:
    """Return the mean difference between the interatomic distances of two particles at equal quantiles (W1)."""
    levels = np.linspace(0, 1, 2001)
    return float(np.mean(abs(np.quantile(pdist(positions), levels) - np.quantile(pdist(true_positions), levels))))


def coordinate_error(true_positions: np.ndarray, found_positions: np.ndarray) -> float:
    """Return the mean coordinate error in Å, or for congruent particles the largest error of a distance."""
    largest_error = float(abs(np.sort(pdist(true_positions)) - np.sort(pdist(found_positions))).max())
    return (
        largest_error
        if largest_error < CONGRUENT_TOLERANCE
        else evaluation.coordinate_error(true_positions, found_positions)
    )


def is_solved(row: dict[str, Any]) -> bool:
    """Return whether the number of atoms and the coordinates are right."""
    return row.get("error") is not None and row["error"] < MAX_COORDINATE_ERROR


def search_from_size(target, fitted, settings, **search_options):
    """Return the result of a search with all packings, which starts only from the size estimated from the data."""
    return ORIGINAL_SEARCH(target, fitted, settings, initial_leaders=packing_starts(target), **search_options)


def packing_starts(target: Target) -> dict[str, tuple[int, FitValues]]:
    """Return the number of atoms and the parameter values from which the search of each packing starts."""
    diameter_in_bonds = (
        screening.diameter_estimate(target.r, target.g, bond=target.bond, qdamp=target.qdamp).diameter / target.bond
    )
    unit = jnp.ones((), jnp.float32)
    values = FitValues(
        unit, target.basis.stretch, unit * PARAMETERS["uiso"].start, unit * 0,
        unit * PARAMETERS["delta2"].start * target.bond**2, unit * target.qdamp, unit * target.qbroad,
    )  # fmt: skip
    packings = ("stack", "bcc", "sc", "icosahedron", "decahedron")
    return {
        packing: (max(20, round(math.pi / 6 * diameter_in_bonds**3 / size_classes.atom_volume(packing))), values)
        for packing in packings
    }


def run_cases(
    case_set: CaseSet, cases: Sequence[ParticleCase], max_atoms: int, path: Path | None, provenance: dict[str, Any]
) -> None:
    """Solve the cases of one part, and print and append their rows."""
    plan = solve_plan(case_set, max_atoms)
    case_measurements = [case.measurement for case in cases]
    truth_rw = [float("nan")] * len(cases)
    for index, case in enumerate(cases):
        cluster = Atoms(["Pt"] * len(case.particle.positions), case.particle.positions * BOND)
        refine_plan = make_refine_plan([cluster], RefineOptions(fit=plan.fit))
        truth_rw[index] = next(
            solve_measurements([case.measurement], refine_plan, run_measurements=case_measurements)
        ).best.rw
    for case, rw, result in zip(cases, truth_rw, solve_measurements(case_measurements, plan), strict=True):
        row = result_row(case, result, rw) | provenance
        json_rows.print_row(
            {
                column: row.get(column)
                for column in ("part", "kind", "noise", "atoms", "found_atoms", "w1", "error", "seconds")
            }
        )
        json_rows.append_line(row, path)


def row_key(row: dict[str, Any]) -> tuple:
    """Return the labels that identify a row."""
    return tuple(row[name] for name in ("part", "kind", "seed", "draw", "noise"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selected parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(CASE_SETS) + "; by default all")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="number of particles of each kind and seed [10]")
    parser.add_argument(
        "--out", type=Path, help="file to which rows are added [results/unlisted_particles.jsonl; with --quick none]"
    )
    parser.add_argument("--shard", default="1/1", help="part of the cases to run, e.g. 1/8")
    parser.add_argument("--quick", action="store_true", help="run one case of two parts with a small library")
    options = parser.parse_args(arguments)
    if unknown_parts := set(options.parts) - set(CASE_SETS):
        parser.error(f"expected parts of {', '.join(CASE_SETS)}, got {', '.join(sorted(unknown_parts))}")
    out = options.out or (None if options.quick else RESULTS / "unlisted_particles.jsonl")
    max_atoms = 100 if options.quick else 1000
    shard, shard_count = map(int, options.shard.split("/"))
    provenance = {"device": json_rows.environment()["device"], "commit": json_rows.commit(), "jax": jax.__version__}
    finished_keys = {row_key(row) for row in json_rows.read_lines(out)}
    for part in options.parts or (["offrule", "library"] if options.quick else list(CASE_SETS)):
        case_set = CASE_SETS[part]
        all_labels = list(case_labels(part, case_set, 1 if options.quick else options.draws))
        all_labels = all_labels[:1] if options.quick else all_labels[shard - 1 :: shard_count]
        cases = [simulate_case(labels, case_set) for labels in all_labels if row_key(labels) not in finished_keys]
        if not cases:
            continue
        if part == "random":
            with mock.patch.object(site_search, "search_lattice_sites", search_from_size):
                run_cases(case_set, cases, max_atoms, out, provenance)
        else:
            run_cases(case_set, cases, max_atoms, out, provenance)


if __name__ == "__main__":
    main()
