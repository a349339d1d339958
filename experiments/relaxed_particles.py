"""Claim: one amplitude of relaxation solves strained particles, although truth and model have other potentials.

    python experiments/relaxed_particles.py --relax           (relaxes all particles; an hour on one core; resumes)
    python experiments/relaxed_particles.py listed unlisted   (10 to 60 s for each case on 2 cores; resumes)
    python experiments/relaxed_particles.py --shard 1/8       (every eighth case; each process has its own --out)
    python experiments/relaxed_particles.py --quick           (a small particle without `solve`, under a minute)

Particles of six metals are relaxed with ASE's EMT potential (`relaxed_structures.py`), while the model of `jaxstruc`
has another potential. Their PDFs have qmin 0.6 to 1.2 and qmax 24 1/Å, and r up to 30 Å (distributions: 40 Å), which is
also the end of the fits. qdamp is known (0.03 1/Å), but Uiso, delta2 and the bond length of EMT are not. White noise on
F(Q) is 3 % for each point of a 0.02 1/Å grid. The scale is unknown, except in the part unlisted.

Each case is answered by `mine`, `solve` and `classify` with their default options. A slot of a part is a kind of
particle, a metal and a draw. If a particle is rejected (see `relaxed_structures.py`), others are drawn for its slot.
Most bcc and sc particles collapse, so that their slots often stay empty. The rows count the rejected particles.

The parts are:

- listed: compact clusters of the library, 38 to 923 atoms.
- unlisted: particles of `synthetic_particles.py` that are not in the library, 35 to 320 atoms, on an absolute scale.
- half: particles of listed with half of their displacements.
- dynamics: particles up to 309 atoms whose G(r) is the mean over frames of dynamics at 300 K, without another Uiso.
- distributions: lognormal distributions of one or two kinds of particles (`relaxed_samples.py`).
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import json_rows
import numpy as np
import relaxed_samples
import relaxed_structures
import synthetic_particles
import unlisted_particles
from relaxed_samples import PAIR_BIN
from relaxed_structures import METALS, RelaxedParticle

from jaxstruc import Measurement, Result, files
from jaxstruc.api import make_solve_plan
from jaxstruc.clusters import families, library, size_classes, structure_type
from jaxstruc.clusters.cluster import Cluster
from jaxstruc.clusters.distances import histogram
from jaxstruc.clusters.library import Library
from jaxstruc.io import measurement as measurement_settings
from jaxstruc.network.weights import load_classifier
from jaxstruc.options.pdf import CLASSIFIER, DataOptions, FitOptions, LibraryOptions, MineOptions, SolveOptions
from jaxstruc.pdf.classify import classify_measurements
from jaxstruc.pdf.solve import solve_measurements
from jaxstruc.scattering import form_factors

RESULTS = Path(__file__).parent / "results"
FIRST_SEED, TUNING_SEED = 6000, 5000
"""Seeds of the reported cases and of the cases for tuning."""
COMMANDS = ("mine", "solve", "classify")
STABLE_KINDS = ("mackay", "decahedron", "octahedron", "fcc", "hcp", "twin", "fault", "icosahedron")
LISTED_KINDS = (*STABLE_KINDS, "bcc", "sc")
"""Kinds of particles of the library: its families, and complete Mackay icosahedra."""
MAX_DRAWS, MAX_UNSTABLE_DRAWS = 12, 4
"""Maximum number of particles that are drawn for a slot. The second number is that of bcc and sc."""
SIZE_TOLERANCE = 0.04
"""Largest difference between the logarithms of a random size and of the library cluster that represents it."""
NOISE = 0.03
QMAX, QDAMP = 24.0, 0.03
UISO_RANGE = (0.004, 0.01)
TEMPERATURE, N_FRAMES = 300.0, 50
"""Temperature of the dynamics in K, and number of frames."""
CONFIDENCE_FACTOR = 1.645
"""Half-width of the central 90 % interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True)
class Part:
    """The settings with which the cases of a part are simulated and solved."""

    particle_kinds: tuple[str, ...]
    draws: int
    """Number of draws of each kind. The metal changes from draw to draw."""
    atom_range: tuple[int, int] = (38, 923)
    absolute: bool = False
    amplitude: float = 1.0
    """Factor on the displacements of the relaxed atoms."""
    temperature: float = 0.0
    """Temperature of the dynamics in K. It is 0 without dynamics."""
    rmax: float = 30.0
    """End of the data and of the fits, in Å."""


PARTS = {
    "listed": Part(LISTED_KINDS, 7),
    "unlisted": Part(synthetic_particles.OFF_RULE_KINDS, 8, (35, 320), absolute=True),
    "half": Part(STABLE_KINDS, 3, amplitude=0.5),
    "dynamics": Part(STABLE_KINDS, 2, (38, 309), temperature=TEMPERATURE),
    "distributions": Part(("one", "one", "one", "two"), 10, rmax=40.0),
}


class RelaxedCase(NamedTuple):
    """A simulated particle or sample with its measurement."""

    labels: dict[str, Any]
    """Part, kind, metal, seed and draw."""
    truth: dict[str, Any]
    """True values by their names in a row."""
    positions: np.ndarray | None
    """Relaxed positions in Å [atom, 3]. They are None for a distribution, and for a slot without a particle."""
    measurement: Measurement | None
    """Simulated data with all settings. They are None for a slot without a particle."""


Answer = Callable[[str, str, Part, Sequence[Measurement]], Iterable[Result]]
"""Function that returns the results of a command for measurements of one metal."""


def slot_labels(name: str, part: Part, seed: int, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the labels of the slots of a part. Each kind has all metals in turn."""
    for draw in range(draws):
        for index, kind in enumerate(part.particle_kinds):
            metal = METALS[(draw + index) % len(METALS)]
            yield {"part": name, "kind": kind, "index": index, "metal": metal, "seed": seed, "draw": draw}


def simulate_case(labels: dict[str, Any], part: Part, cache_folder: Path | None) -> RelaxedCase:
    """Return the case of a slot. The parts listed and half share particles."""
    rng = np.random.default_rng([labels["seed"], labels["draw"], labels["index"]])
    if labels["part"] == "distributions":
        max_size = relaxed_samples.POOL_SIZES[1] if part.atom_range[1] > 100 else 12.0
        sample = relaxed_samples.draw_sample(
            labels["metal"], 1 + (labels["kind"] == "two"), cache_folder, rng, max_size=max_size
        )
        return simulate_data(labels, part, sample.truth, None, relaxed_samples.sample_pairs(sample), rng)
    particle, rejections = draw_particle(labels, part, cache_folder, rng)
    if particle is None:
        return RelaxedCase(labels, {"rejections": rejections}, None, None)
    positions = particle.positions(part.amplitude)
    truth = {
        "atoms": len(positions), "type": particle.type, "hexagonal": particle.hexagonal, "bond": particle.bond,
        "family": particle.cluster.family, "recipe": particle.cluster.label, "amplitude": part.amplitude,
        "strain": float(np.sqrt((particle.displacement**2).sum(axis=1).mean()) / particle.bond),
        "minimum": relaxed_structures.is_minimum(particle, cache_folder), "rejections": rejections,
    }  # fmt: skip
    if not part.temperature:
        pair_histogram = histogram(positions, width=PAIR_BIN)
        weight = np.asarray(pair_histogram.weight, float) / len(positions)
        return simulate_data(labels, part, truth, positions, (np.asarray(pair_histogram.mean, float), weight), rng)
    frames = relaxed_structures.thermal_frames(particle, part.temperature, N_FRAMES, cache_folder)
    truth["uiso"] = relaxed_structures.mean_displacement(frames, particle)[1]
    pairs = relaxed_samples.mean_pairs(list(frames), np.full(len(frames), 1 / len(frames)))
    return simulate_data(labels, part, truth, positions, pairs, rng)


def draw_particle(
    labels: dict[str, Any], part: Part, cache_folder: Path | None, rng: np.random.Generator
) -> tuple[RelaxedParticle | None, dict[str, int]]:
    """Return the first particle of a slot that is accepted, and the numbers of rejected ones by their reasons."""
    rejections: Counter[str] = Counter()
    for _ in range(MAX_UNSTABLE_DRAWS if labels["kind"] in ("bcc", "sc") else MAX_DRAWS):
        if labels["part"] == "unlisted":
            cluster = off_rule_cluster(labels["kind"], part.atom_range, rng)
        else:
            cluster = listed_cluster(labels["kind"], part.atom_range, rng)
        particle = relaxed_structures.relax_cluster(cluster, labels["metal"], cache_folder)
        if isinstance(particle, RelaxedParticle) and part.temperature:
            frames = relaxed_structures.thermal_frames(particle, part.temperature, N_FRAMES, cache_folder)
            displacement = relaxed_structures.mean_displacement(frames, particle)[0]
            if not relaxed_structures.atoms_stay(displacement, particle.bond):
                particle = "atoms leave their sites in the dynamics"
        if isinstance(particle, RelaxedParticle):
            return particle, dict(rejections)
        rejections[particle] += 1
    return None, dict(rejections)


def off_rule_cluster(kind: str, atom_range: tuple[int, int], rng: np.random.Generator) -> Cluster:
    """Return a random cluster that no rule of the library lists."""
    particle = synthetic_particles.draw_off_rule_particle(kind, rng, min_atoms=atom_range[0], max_atoms=atom_range[1])
    return Cluster(kind, particle.sequence, particle.positions)


def listed_cluster(kind: str, atom_range: tuple[int, int], rng: np.random.Generator) -> Cluster:
    """Return a cluster of the library with a random size whose ideal atoms show the type of its family.

    Octahedra and complete icosahedra are selected from all of their kind, and other clusters from the compact ones.
    """
    candidates, rows, log_sizes = listed_rows(kind, atom_range)
    while True:
        deviation = abs(log_sizes - rng.uniform(log_sizes[0], log_sizes[-1]))
        similar_rows = rows[deviation <= max(SIZE_TOLERANCE, deviation.min() + 1e-9)]
        cluster = library.candidate_cluster(candidates, int(rng.choice(similar_rows)))
        observed_type = structure_type.identify_structure_type(cluster.positions)
        if observed_type.shows_type and observed_type.name == families.FAMILY_TYPES[cluster.family]:
            return cluster


@cache
def listed_rows(kind: str, atom_range: tuple[int, int]) -> tuple[Library, np.ndarray, np.ndarray]:
    """Return the library, its rows of a kind, and the natural logarithms of their sizes."""
    candidates = library.load_or_build(tuple(families.FAMILIES), max_atoms=max(100, atom_range[1]))
    is_member = (candidates.families == ("icosahedron" if kind == "mackay" else kind)) & (
        (candidates.atoms >= atom_range[0]) & (candidates.atoms <= atom_range[1])
    )
    if kind == "mackay":
        is_member &= np.char.endswith(candidates.labels, "shells")
    rows = np.flatnonzero(is_member)
    sizes = size_classes.candidate_sizes(candidates, rows)
    if kind not in ("mackay", "octahedron"):
        is_compact = (candidates.diameter[rows] + 1) / sizes <= size_classes.MAX_COMPACT_ELONGATION
        rows, sizes = rows[is_compact], sizes[is_compact]
    return candidates, rows, np.log(sizes)


def simulate_data(
    labels: dict[str, Any],
    part: Part,
    truth: dict[str, Any],
    positions: np.ndarray | None,
    pairs: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> RelaxedCase:
    """Return the case of a particle or sample with its noisy G(r).

    Args:
        labels: Labels of the slot.
        part: Settings of the part.
        truth: True values by their names in a row. The values of the simulation are added.
        positions: Positions in Å, or None for a distribution.
        pairs: Distances of the pairs in Å [pair], and their numbers for each atom [pair].
        rng: Random generator of the values and of the noise.
    """
    values = {"qmin": rng.uniform(0.6, 1.2), "qmax": QMAX, "uiso": rng.uniform(*UISO_RANGE)}
    values["delta2"] = rng.uniform(1.0, 4.0)
    scale = 1.0 if part.absolute else math.exp(rng.uniform(math.log(0.6), math.log(1.6)))
    if part.temperature:
        values |= {"uiso": 0.0, "delta2": 0.0}
    q, f = unlisted_particles.pair_structure_function(*pairs, values)
    r, clean_g = unlisted_particles.noisy_pdf(q, f, QDAMP, 0.0, part.rmax, rng)
    _, g = unlisted_particles.noisy_pdf(q, f, QDAMP, NOISE, part.rmax, rng)
    options = DataOptions(qmin=values["qmin"], qmax=QMAX, qdamp=QDAMP, rmax=part.rmax)
    measurement = Measurement("-".join(str(label) for label in labels.values()) + ".gr", r, scale * g, {})
    bond = form_factors.bond_length(labels["metal"])
    noise_rw = float(np.linalg.norm(g - clean_g) / np.linalg.norm(g))
    return RelaxedCase(
        labels,
        values | truth | {"scale": scale, "noise_rw": noise_rw},
        positions,
        measurement_settings.resolve_settings(measurement, options, bond=bond),
    )


def answer_measurements(command: str, metal: str, part: Part, measurements: Sequence[Measurement]) -> Iterable[Result]:
    """Return the results of a command for measurements of one metal. Small particles have a small library."""
    if command == "classify":
        return classify_measurements(measurements, load_classifier(CLASSIFIER), element=metal, types="all")
    max_atoms = 1000 if part.atom_range[1] > 100 else 100
    options_class = MineOptions if command == "mine" else SolveOptions
    fit_options, library_options = FitOptions(absolute=part.absolute), LibraryOptions((), max_atoms)
    options = options_class(fit=fit_options, candidates=library_options, types="all")
    return solve_measurements(measurements, make_solve_plan(metal, options))


def result_row(case: RelaxedCase, command: str, result: Result) -> dict[str, Any]:
    """Return the row of a case and a command."""
    row = {**case.labels, "command": command, **case.truth, "status": result.status, "found_type": result.type}
    row |= {"seconds": result.facts.get("seconds"), "p_type": result.types.get(case.truth["type"], 0.0)}
    if "n_atoms" in result.intervals:
        atoms = result.intervals["n_atoms"]
        row |= {"found_atoms": round(atoms.value), "n_low": atoms.low, "n_high": atoms.high}
    row |= sample_values(result)
    if not result.candidates:
        return row
    best = result.best
    row |= {"source": best.source, "found_atoms": best.n_atoms, "best_type": best.type, "rw": best.rw}
    row |= relaxation_values(result)
    if best.atoms is not None and case.positions is not None:
        row["w1"] = unlisted_particles.distance_error(best.atoms.positions, case.positions)
    return row


def sample_values(result: Result) -> dict[str, Any]:
    """Return the decision on the sample, and the mean and width of the sizes with their 90 % intervals."""
    ensemble = getattr(result, "ensemble", None)
    if ensemble is None:
        width = result.intervals.get("width")
        return {} if width is None else {"width_found": [width.value, width.low, width.high]}
    mean, width = ensemble.mean_diameter, ensemble.width
    return {
        "sample": ensemble.sample,
        "mean_found": [mean.value, mean.low, mean.high],
        "width_found": [width.value, width.low, width.high],
    }


def relaxation_values(result: Result) -> dict[str, float]:
    """Return the amplitude of relaxation with its error and 90 % interval, or nothing if it was not fitted."""
    value = result.best.values.get("relaxation")
    if value is None or value.error is None:
        return {}
    row = {"relaxation": value.value, "relaxation_error": value.error}
    interval = result.intervals.get("relaxation")
    half_width = CONFIDENCE_FACTOR * value.error
    low, high = (
        (value.value - half_width, value.value + half_width) if interval is None else (interval.low, interval.high)
    )
    return row | {"relaxation_low": low, "relaxation_high": high}


def run_slots(
    part: Part,
    slots: Sequence[dict[str, Any]],
    commands: Sequence[str],
    cache_folder: Path | None,
    path: Path | None,
    answer: Answer,
) -> None:
    """Simulate and solve the slots of a part, and print and append their rows. Finished rows are left out."""
    finished_keys = {row_key(row, row["command"]) for row in json_rows.read_lines(path)}
    provenance = {"device": json_rows.environment()["device"], "commit": json_rows.commit(), "jax": jax.__version__}

    def write_row(row: dict[str, Any]) -> None:
        columns = ("part", "kind", "metal", "command", "atoms", "found_atoms", "rw", "noise_rw", "relaxation")
        json_rows.print_row({name: row[name] for name in (*columns, "rejections") if name in row})
        json_rows.append_line(row | provenance, path)

    cases_by_metal: dict[str, list[RelaxedCase]] = {}
    for labels in slots:
        missing_commands = [command for command in (*commands, "none") if row_key(labels, command) not in finished_keys]
        if "none" not in missing_commands or missing_commands == ["none"]:
            continue
        case = simulate_case(labels, part, cache_folder)
        if case.measurement is None:
            write_row({**labels, "command": "none", **case.truth})
        else:
            cases_by_metal.setdefault(labels["metal"], []).append(case)
    for command in commands:
        for metal, cases in cases_by_metal.items():
            missing_cases = [case for case in cases if row_key(case.labels, command) not in finished_keys]
            measurements = [case.measurement for case in missing_cases if case.measurement is not None]
            results = answer(command, metal, part, measurements) if measurements else []
            for case, result in zip(missing_cases, results, strict=True):
                write_row(result_row(case, command, result))


def row_key(labels: dict[str, Any], command: str) -> tuple:
    """Return the labels that identify a row. The command of a slot without a particle is "none"."""
    return (*(labels[name] for name in ("part", "index", "seed", "draw")), command)


def relax_slots(part: Part, slots: Sequence[dict[str, Any]], cache_folder: Path | None) -> None:
    """Simulate the slots of a part, which fills the cache, and print the true values."""
    for labels in slots:
        json_rows.print_row(labels | simulate_case(labels, part, cache_folder).truth)


def main(arguments: Sequence[str] | None = None, *, answer: Answer = answer_measurements) -> None:
    """Run the selected parts.

    Args:
        arguments: Arguments of the command line.
        answer: Function that returns the results of a command for measurements of one metal.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help=", ".join(PARTS) + "; by default all")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, help="by default all; with --quick not solve")
    parser.add_argument("--draws", type=int, help="number of draws of each kind")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help=f"seed of all cases, {TUNING_SEED} for tuning")
    parser.add_argument("--shard", default="1/1", help="part of the cases to run, e.g. 1/8")
    parser.add_argument(
        "--out",
        type=Path,
        help="file to which rows are added [results/relaxed_particles.jsonl; none with --quick and other seeds]",
    )
    parser.add_argument(
        "--cache", type=Path, default=files.cache_folder() / "relaxed", help="folder of the relaxed structures"
    )
    parser.add_argument("--relax", action="store_true", help="only relax the particles, and print their true values")
    parser.add_argument("--quick", action="store_true", help="run one small case with a small library")
    options = parser.parse_args(arguments)
    if unknown_parts := set(options.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown_parts))}")
    is_reported = options.seed == FIRST_SEED and not options.quick
    out = options.out or (RESULTS / "relaxed_particles.jsonl" if is_reported else None)
    shard, shard_count = map(int, options.shard.split("/"))
    commands = options.commands or (("mine", "classify") if options.quick else COMMANDS)
    for name in options.parts or (["listed"] if options.quick else PARTS):
        part = replace(PARTS[name], atom_range=(38, 60)) if options.quick else PARTS[name]
        slots = list(slot_labels(name, part, options.seed, options.draws or part.draws))
        slots = slots[:1] if options.quick else slots[shard - 1 :: shard_count]
        if options.relax:
            relax_slots(part, slots, options.cache)
        else:
            run_slots(part, slots, commands, options.cache, out, answer)


if __name__ == "__main__":
    main()
