"""Claim: a network names the type, size and stacking of a particle from its PDF at once, with calibrated probabilities.

    python experiments/classifier_accuracy.py                      (some ten minutes on 2 cores: all parts)
    python experiments/classifier_accuracy.py offrule --draws 2    (one part)
    python experiments/classifier_accuracy.py measured --data DIR  (files that are not in the repository)
    python experiments/classifier_accuracy.py --quick              (few cases of two parts; writes nothing)

The parts are:

- own: steps of the simulated training stream that no training has used. Rows hold the coverage of intervals and the
  calibration of type probabilities.
- held: as own, but only with listed clusters of sizes that are held out of the training.
- sbc: ranks of the true values of 1000 such PDFs among posterior draws, in 20 bins, with a simultaneous 99 % band
  (S. Talts et al., arXiv 1804.06788; T. Säilynoja et al., Stat. Comput. 32, 32 (2022)).
- offrule, rules: particles and instruments of `unlisted_particles.py`, without noise and with 3 and 10 % of noise.
  Their code is independent of the code that simulates the training data.
- outside: samples that are not particles of one metal, compared with offrule. Rows hold the AUROC (area under the
  receiver operating characteristic) of `ClassifierOutput.novelty_score`.
- measured: predictions for measured files.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import json_rows
import numpy as np
import synthetic_particles
import unlisted_particles
from matplotlib.figure import Figure
from scipy import stats

import jaxstruc
from jaxstruc.clusters import library
from jaxstruc.clusters.random_particles import STRUCTURE_TYPES
from jaxstruc.io import measurement as measurement_settings
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.network.classifier import model as classifier
from jaxstruc.network.classifier import particles as classifier_particles
from jaxstruc.network.classifier import predict, simulated_pdfs
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.pdf import CLASSIFIER, DataOptions
from jaxstruc.report import figures
from jaxstruc.scattering import form_factors

RESULTS = Path(__file__).parent / "results" / "classifier_accuracy.jsonl"
PARTS = ("own", "held", "sbc", "offrule", "rules", "outside")
STREAM_STEPS, STREAM_SEED = 40, 10**5
"""Number and seed of the steps of the stream, which neither training nor calibration uses."""
N_RANKS, N_BINS = 1000, 20
SOURCE_NAMES = {
    classifier_particles.CUT_SOURCE: "cut",
    classifier_particles.LISTED_SOURCE: "listed",
    classifier_particles.DISTRIBUTION_SOURCE: "distribution",
}
NOISES = (0.0, 0.03, 0.1)
MEASURED_FILES = {
    "Pt_1.8nm_S3.gr": "Pt",
    "Au144_pMBA.gr": "Au",
    "Pt_nanoparticles_pdfttp.gr": "Pt",
    "Au_ScattBO.gr": "Au",
}


def stream_rows(part: str, network: TrainedClassifier, steps: int) -> list[dict[str, Any]]:
    """Return one row for each source of particles, for steps of the stream or for its held-out clusters."""
    cluster_library = library.load_or_build()
    particle_store = classifier_particles.particle_store(
        cluster_library, classifier_particles.cluster_types(cluster_library), holdout=part == "held"
    )
    batch_arrays: dict[str, list] = {name: [] for name in ("source", "types", "true", "ranks", "known")}
    for batch, mixture, _ in predict.simulate_test_steps(
        network.params, particle_store, seed=STREAM_SEED, steps=steps, module=network.module
    ):
        ranks, is_known = predict.label_ranks(batch.labels, mixture, len(batch_arrays["true"]))
        types = predict.temper_probabilities(classifier.type_probabilities(mixture), network.card["temperature"])
        batch_arrays["source"].append(np.asarray(batch.source))
        batch_arrays["types"].append(np.asarray(types))
        batch_arrays["true"].append(np.asarray(batch.labels.type_index))
        batch_arrays["known"].append(is_known)
        batch_arrays["ranks"].append(predict.calibrate_ranks(ranks, network.card))
    columns = {name: np.concatenate(arrays) for name, arrays in batch_arrays.items()}
    if part == "sbc":
        return calibration_rows(columns)
    result_rows = [{"part": part, "source": "all"} | _pooled_statistics(columns)] if part == "own" else []
    for source_index, name in SOURCE_NAMES.items():
        if part == "held" and source_index != classifier_particles.LISTED_SOURCE:
            continue
        source_rows = (columns["source"] == source_index) & (columns["true"] >= 0)
        result_rows.append(
            {"part": part, "source": name}
            | _type_statistics(columns["types"][source_rows], columns["true"][source_rows])
        )
        for value_index, value in enumerate(simulated_pdfs.VALUE_NAMES):
            known_rows = (columns["source"] == source_index) & columns["known"][:, value_index]
            if known_rows.any():
                result_rows[-1] |= _rank_statistics(value, columns["ranks"][known_rows, value_index])
    return result_rows


def _pooled_statistics(columns: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the accuracy of types and the coverage of intervals over all sources."""
    has_type = columns["true"] >= 0
    statistics = _type_statistics(columns["types"][has_type], columns["true"][has_type])
    for value_index, value in enumerate(simulated_pdfs.VALUE_NAMES):
        statistics |= _rank_statistics(value, columns["ranks"][columns["known"][:, value_index], value_index])
    return statistics


def calibration_rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return histograms of the ranks of 1000 true values, one row for each output, with the simultaneous 99 % band.

    The rank of a type is drawn uniformly from the interval of this type in the cumulative probability of all types.
    """
    rng = np.random.default_rng(3)
    uniform_counts = rng.multinomial(N_RANKS, np.full(N_BINS, 1 / N_BINS), 20000)
    # In 99 % of cases all bins of uniform ranks lie within this band.
    band_width = np.quantile(abs(uniform_counts - N_RANKS / N_BINS).max(axis=1), 0.99)
    ranks = {
        value: columns["ranks"][columns["known"][:, value_index], value_index]
        for value_index, value in enumerate(simulated_pdfs.VALUE_NAMES)
    }
    has_type = columns["true"] >= 0
    types, true_types = columns["types"][has_type], columns["true"][has_type]
    probability_below = np.cumsum(types, axis=1) - types
    row_indices = np.arange(len(true_types))
    ranks["type"] = (
        probability_below[row_indices, true_types] + rng.random(len(true_types)) * types[row_indices, true_types]
    )
    result_rows = []
    for name, value_ranks in ranks.items():
        counts = np.histogram(rng.choice(value_ranks, N_RANKS, replace=False), N_BINS, (0, 1))[0]
        is_inside = bool((abs(counts - N_RANKS / N_BINS) <= band_width).all())
        result_rows.append(
            {"part": "sbc", "value": name, "counts": counts.tolist(), "band": float(band_width), "inside": is_inside}
        )
    return result_rows


def plot_rank_histograms(calibration: Sequence[dict[str, Any]]) -> Figure:
    """Return a picture of the histograms of ranks, one panel for each output, with the band."""
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, row in zip(figure.subplots(2, 4, sharex=True, sharey=True).flat, [*calibration, None], strict=False):
        if row is None:
            axes.set_axis_off()
            continue
        expected_count, edges = N_RANKS / N_BINS, np.linspace(0, 1, N_BINS + 1)
        axes.axhspan(expected_count - row["band"], expected_count + row["band"], color="0.9")
        axes.stairs(row["counts"], edges, color="C0" if row["inside"] else "C3")
        axes.set(title=row["value"], xlim=(0, 1), ylim=(0, None))
    figure.supxlabel("rank of the true value among draws (grey: 99 % band of uniform ranks)")
    figure.supylabel(f"number of PDFs (of {N_RANKS})")
    return figure


def _type_statistics(probabilities: np.ndarray, true_types: np.ndarray) -> dict[str, Any]:
    """Return the fraction of correct most probable types, and the expected calibration error of their probability."""
    largest_probability, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == true_types
    decile = np.minimum((largest_probability * 10).astype(int), 9)
    error = sum(
        abs(largest_probability[decile == index].mean() - is_right[decile == index].mean()) * (decile == index).mean()
        for index in set(decile)
    )
    accuracy_by_type = {
        STRUCTURE_TYPES[index]: float(is_right[true_types == index].mean())
        for index in sorted(set(true_types.tolist()))
    }
    return {
        "cases": len(true_types),
        "right": float(is_right.mean()),
        "calibration": float(error),
        "by_type": accuracy_by_type,
    }


def _rank_statistics(name: str, ranks: np.ndarray) -> dict[str, float]:
    """Return the coverage of central intervals, and the Kolmogorov-Smirnov statistic of the ranks."""
    distance_from_half = abs(ranks - 0.5)
    return {
        f"{name}_50": float((distance_from_half <= 0.25).mean()),
        f"{name}_90": float((distance_from_half <= 0.45).mean()),
        f"{name}_uneven": float(stats.kstest(ranks, "uniform").statistic),
    }


def simulate_cases(part: str, draws: int, seeds: int) -> list[unlisted_particles.ParticleCase]:
    """Return the simulated particles of a part."""
    particle_kinds = synthetic_particles.RULE_KINDS if part == "rules" else synthetic_particles.OFF_RULE_KINDS
    case_set = unlisted_particles.CaseSet(particle_kinds=particle_kinds, noises=NOISES, seeds=seeds)
    return [
        unlisted_particles.simulate_case(labels | {"part": part}, case_set)
        for labels in unlisted_particles.case_labels(part, case_set, draws)
    ]


def simulated_rows(part: str, network: TrainedClassifier, draws: int, seeds: int) -> list[dict[str, Any]]:
    """Return the rows of simulated particles, one for each case."""
    cases = simulate_cases(part, draws, seeds)
    outputs = predict.classify_pdfs([case.measurement for case in cases], network, bond=unlisted_particles.BOND)
    result_rows = []
    for case, output in zip(cases, outputs, strict=True):
        atoms, hexagonal_interval = len(case.particle.positions), output.intervals["hexagonal"]
        atom_interval = output.intervals["n_atoms"]
        result_rows.append(
            case.labels
            | {
                "atoms": atoms,
                "type": case.particle.type,
                "found_type": next(iter(output.type_probabilities)),
                "p_type": output.type_probabilities[case.particle.type],
                "n_atoms": atom_interval.value,
                "n_low": atom_interval.low,
                "n_high": atom_interval.high,
                "hexagonal": case.particle.hexagonal,
                "found_hexagonal": hexagonal_interval.value,
                "distance": output.novelty_score,
                "n_rank": _calibrated_rank(output, network.card, atoms),
            }
        )
    return result_rows


def _calibrated_rank(output: predict.ClassifierOutput, card: dict[str, Any], atoms: int) -> float:
    """Return the calibrated rank of a number of atoms."""
    scaled_log_atoms = (math.log(atoms) - classifier.COORDINATE_CENTRE[0]) / classifier.COORDINATE_SCALE[0]
    component_ranks = stats.norm.cdf(
        (scaled_log_atoms - output.mixture_density.mean[:, 0]) / output.mixture_density.standard_deviation[:, 0]
    )
    rank = float(np.exp(output.mixture_density.log_weight) @ component_ranks)
    return float(np.interp(rank, card["levels"]["n_atoms"], predict.RANK_LEVELS))


def outlier_rows(network: TrainedClassifier, draws: int) -> list[dict[str, Any]]:
    """Return the AUROC of the novelty score for curves that do not belong to a particle of one metal.

    Some curves have wrong settings instead.
    """
    rng = np.random.default_rng(unlisted_particles.FIRST_SEED)
    reference_cases = [entry for entry in simulate_cases("offrule", draws, 1) if entry.labels["noise"] == 0.03]
    reference_measurements = [entry.measurement for entry in reference_cases]
    outliers_by_kind: dict[str, list[Measurement]] = {
        "amorphous": [
            _simulate_like(_amorphous_positions(rng, len(entry.particle.positions)), entry, rng)
            for entry in reference_cases
        ],
        "two sizes of atoms": [
            _simulate_like(_two_size_positions(entry.particle.positions, rng), entry, rng) for entry in reference_cases
        ],
        "oxide": [_simulate_like(_oxide_positions(entry.particle.positions), entry, rng) for entry in reference_cases],
        "two types": [
            _average_measurements(entry, other_case)
            for entry, other_case in zip(reference_cases, reference_cases[1:] + reference_cases[:1], strict=True)
        ],
        "qmax told 20 % too high": [
            _with_settings(entry, qmax=1.2 * entry.settings_by_name["qmax"]) for entry in reference_measurements
        ],
        "r in other units": [entry._replace(r=entry.r * 0.7) for entry in reference_measurements],
    }
    reference_distances = np.array(
        [
            entry.novelty_score
            for entry in predict.classify_pdfs(reference_measurements, network, bond=unlisted_particles.BOND)
        ]
    )
    result_rows = [
        {
            "part": "outside",
            "what": "false alarms",
            "share": float((reference_distances > 1).mean()),
            "cases": len(reference_distances),
        }
    ]
    for name, outliers in outliers_by_kind.items():
        outlier_distances = np.array(
            [entry.novelty_score for entry in predict.classify_pdfs(outliers, network, bond=unlisted_particles.BOND)]
        )
        auroc = (
            stats.mannwhitneyu(outlier_distances, reference_distances).statistic
            / len(outlier_distances)
            / len(reference_distances)
        )
        result_rows.append(
            {
                "part": "outside",
                "what": name,
                "auroc": float(auroc),
                "alarms": float((outlier_distances > 1).mean()),
                "cases": len(outlier_distances),
            }
        )
    return result_rows


def _simulate_like(
    positions: np.ndarray, case: unlisted_particles.ParticleCase, rng: np.random.Generator
) -> Measurement:
    """Return the curve of other atoms (positions in units of the bond length) with the instrument of a case."""
    settings = case.measurement.settings_by_name
    values = {
        "qmin": 0.8,
        "qmax": settings["qmax"],
        "qdamp": settings["qdamp"],
        "uiso": 0.008,
        "delta2": 2.0,
        "stretch": 1.0,
    }
    r, g = unlisted_particles.simulate_pdf(positions, values, 0.03, 30.0, rng)
    return case.measurement._replace(r=r, g=g)


def _amorphous_positions(rng: np.random.Generator, atoms: int) -> np.ndarray:
    """Return atoms packed at random in a sphere. Atoms closer than one bond length are pushed apart."""
    radius = 0.5 * (atoms / 0.64) ** (1 / 3)
    directions = rng.normal(size=(atoms, 3))
    positions = (
        directions / np.linalg.norm(directions, axis=1, keepdims=True) * radius * rng.random((atoms, 1)) ** (1 / 3)
    )
    for _ in range(400):
        separations = positions[:, None] - positions[None]
        distances = np.linalg.norm(separations, axis=-1) + np.eye(atoms) * 9
        push = np.where(distances < 1.0, (1.0 - distances) / distances, 0.0)
        positions = positions + 0.3 * (push[..., None] * separations).sum(axis=1)
        norms = np.linalg.norm(positions, axis=1, keepdims=True)
        positions = np.where(norms > radius, positions * radius / norms, positions)
    return positions


def _two_size_positions(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return displaced positions, as in an alloy of two elements whose atoms differ in size by 8 %."""
    return positions + rng.normal(scale=0.06, size=positions.shape)


def _oxide_positions(positions: np.ndarray) -> np.ndarray:
    """Return a particle that resembles an oxide: its metal atoms are farther apart, with other atoms between them."""
    return np.concatenate([1.25 * positions, 1.25 * positions + 0.62])


def _average_measurements(
    case: unlisted_particles.ParticleCase, other_case: unlisted_particles.ParticleCase
) -> Measurement:
    """Return the mean of the curves of two cases, with the settings of the first."""
    return case.measurement._replace(g=0.5 * (case.measurement.g + other_case.measurement.g))


def _with_settings(measurement: Measurement, **changed_values: float) -> Measurement:
    """Return a measurement with changed settings."""
    settings = [
        setting._replace(value=changed_values.get(setting.name, setting.value)) for setting in measurement.settings
    ]
    return measurement._replace(settings=tuple(settings))


def measured_rows(network: TrainedClassifier, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of measured files."""
    result_rows = []
    for name, element in MEASURED_FILES.items():
        bond = form_factors.bond_length(element)
        measurement = measurement_settings.resolve_settings(jaxstruc.read(folder / name), DataOptions(), bond=bond)
        (output,) = predict.classify_pdfs([measurement], network, bond=bond)
        intervals = {key: [interval.value, interval.low, interval.high] for key, interval in output.intervals.items()}
        result_rows.append(
            {"part": "measured", "file": name, "types": output.type_probabilities, "distance": output.novelty_score}
            | intervals
        )
    return result_rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selected parts, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "parts", nargs="*", default=[], help=", ".join((*PARTS, "measured")) + "; by default all except measured"
    )
    parser.add_argument("--draws", type=int, default=10, help="number of particles of each kind and seed [10]")
    parser.add_argument("--weights", type=Path, default=CLASSIFIER, help="weights of the classifier")
    parser.add_argument("--data", type=Path, help="folder of the measured files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="run few cases of two parts, and write nothing")
    options = parser.parse_args(arguments)
    if unknown_parts := set(options.parts) - {*PARTS, "measured"}:
        parser.error(f"expected parts of {', '.join(PARTS)} and measured, got {', '.join(sorted(unknown_parts))}")
    if "measured" in options.parts and options.data is None:
        parser.error("expected --data, the folder of the measured files")
    parts = options.parts or (["offrule", "outside"] if options.quick else list(PARTS))
    network, draws, seeds = (
        weights.load_classifier(options.weights),
        1 if options.quick else options.draws,
        1 if options.quick else 3,
    )
    provenance = {"weights": network.card["sha256"][:12], **json_rows.provenance()}
    all_rows = json_rows.read_lines(None if options.quick else options.out)
    for part in parts:
        if part in ("own", "held", "sbc"):
            part_rows = stream_rows(part, network, STREAM_STEPS)
        elif part == "outside":
            part_rows = outlier_rows(network, draws)
        else:
            part_rows = (
                measured_rows(network, options.data)
                if part == "measured"
                else simulated_rows(part, network, draws, seeds)
            )
        for row in part_rows[:12]:
            json_rows.print_row(row)
        all_rows = [row for row in all_rows if row["part"] != part] + [row | provenance for row in part_rows]
        if not options.quick:
            json_rows.write_lines(all_rows, options.out)
        if part == "sbc" and not options.quick:
            figures.write(options.out.with_name(options.out.stem + "_sbc.png"), plot_rank_histograms(part_rows))


if __name__ == "__main__":
    main()
