"""Claim: one file is cross-validated in about two seconds, and the sizes of a series are found at 50 files a second.

    python experiments/benchmark_ensembles.py             (about three minutes on 2 cores)
    python experiments/benchmark_ensembles.py --quick     (a small library, few files, under 50 s)

Part "judge" times the cross-validation of one file. The file is a simulated platinum sample of eighty fcc particles
with 3 % of noise and r up to 30 Å. 48 clusters and four ensembles are selected from 5000 clusters of the library and
fitted up to three cuts. One ensemble is fitted to the whole signal. The time is the median of five runs without
compilation.

Part "series" times fits of a series of 1000 such samples, whose mean size grows from one sample to the next.
`ensemble.fit_series` fits lognormal ensembles to a hundred samples at a time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ensembles
import json_rows
import measured_pdfs
import numpy as np
import timing

from jaxstruc.clusters import families, library
from jaxstruc.clusters.displacement_fields import FieldStore
from jaxstruc.io import measurement
from jaxstruc.parameters import DEFAULT_FREE_PARAMETERS
from jaxstruc.pdf import candidates, distribution, ensemble, screening, target
from jaxstruc.pdf.candidates import CandidateGroup, FittedCandidates
from jaxstruc.pdf.ensemble_model import EnsembleModel, EnsembleParameters
from jaxstruc.pdf.ensemble_model import ensemble_model as make_ensemble_model
from jaxstruc.pdf.target import Target
from jaxstruc.scattering.cluster_tables import TableRange

RESULTS = Path(__file__).parent / "results"
N_TRIED_CLUSTERS, N_FITTED_CLUSTERS, N_FILES, BATCH_SIZE, N_REPEATS = 5000, 200, 1000, 100, 5
FREE = DEFAULT_FREE_PARAMETERS
SERIES_SPAN = TableRange(36.0, 24.0)
"""Range of the cluster tables, which all samples of a series share."""


def main(arguments: Sequence[str] | None = None) -> list[dict]:
    """Run both parts, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use a small library and few files")
    parser.add_argument(
        "--out", type=Path, help="file of the rows [results/benchmark_ensembles.jsonl; with --quick none]"
    )
    options = parser.parse_args(arguments)
    out = options.out or (None if options.quick else RESULTS / "benchmark_ensembles.jsonl")
    cluster_library = library.load_or_build(tuple(families.FAMILIES), max_atoms=100 if options.quick else 1000)
    all_rows = np.arange(len(cluster_library.atoms))
    case = ensembles.simulate_case(cluster_library, "lognormal", 8)
    data = measurement.resolve_settings(case.measurement, case.data_options, bond=ensembles.BOND)
    settings, (r, g) = data.settings_by_name, data.curve
    span = target.table_range(
        rmax=20.0, qmax=settings["qmax"], diameter=float(cluster_library.diameter.max()) * ensembles.BOND
    )
    q_settings = {name: settings[name] for name in ("qmin", "qmax", "qdamp", "qbroad")}
    fit_target = target.make_target(r, g, target.TargetSettings(**q_settings, bond=ensembles.BOND, span=span))
    binned_distances = screening.binned_distances(cluster_library, all_rows, bond=ensembles.BOND, span=span)
    misfit = screening.approximate_rw(binned_distances, fit_target.basis)
    group = CandidateGroup("library", cluster_library, all_rows, fields=FieldStore(cluster_library, "Pt"))
    pool = candidates.candidate_pool(
        [group._replace(rows=screening.best_rows(binned_distances, misfit, count=N_FITTED_CLUSTERS))]
    )
    fits = candidates.fit_all(pool, fit_target)
    order = np.argsort(np.where(np.isfinite(fits.rw), fits.rw, np.inf))
    fitted = candidates.select_fitted(FittedCandidates(pool, fits), order)
    signal_end = screening.diameter_estimate(data.r, data.g, bond=ensembles.BOND, qdamp=q_settings["qdamp"]).signal_end
    library_cache = distribution.LibraryCache()
    library_rows = screening.best_rows(binned_distances, misfit, count=N_TRIED_CLUSTERS)
    holdout_options = distribution.HoldoutOptions(FREE, "auto", library_rows)

    def class_fractions():
        return distribution.cross_validate_sample(
            data,
            fit_target,
            [group],
            fitted,
            signal_end=signal_end,
            options=holdout_options,
            library_cache=library_cache,
        ).validation.ensemble_fit.atom_fractions  # type: ignore[union-attr]

    _, first_seconds, median_seconds = timing.time_calls(class_fractions, n_repeats=N_REPEATS)
    result_rows = [{"part": "judge", "columns": len(library_rows), "seconds": median_seconds, "first": first_seconds}]
    json_rows.print_row(result_rows[0])
    (library_classes,) = (value for value in library_cache.library_classes.values() if value)
    result_rows.append(series_row(library_classes, cluster_library, 2 if options.quick else N_FILES // BATCH_SIZE))
    result_rows = [row | json_rows.provenance() for row in result_rows]
    if out:
        json_rows.write_lines(result_rows, out)
    return result_rows


class SimulatedSeries(NamedTuple):
    """Samples of a series, whose mean diameter grows from one to the next."""

    targets: list[Target]
    sizes: np.ndarray
    """True mean diameter, in Å, and width of each sample: [sample, 2]."""
    first_mean: float
    """Mean diameter that the first sample was drawn with, in Å."""


def simulate_series(cluster_library: library.Library, first_mean: float) -> SimulatedSeries:
    """Return a series of lognormal samples of fcc particles with 3 % of noise."""
    rng, q, r = np.random.default_rng(0), np.linspace(0.8, 20.0, 961), np.arange(1.5, 25.001, 0.05)
    damped_transform, undamped_transform = (measured_pdfs.transform(q, r, qdamp=qdamp) for qdamp in (0.03, 0.0))
    settings = target.TargetSettings(qmin=0.8, qmax=20.0, qdamp=0.03, qbroad=0.0, bond=ensembles.BOND, span=SERIES_SPAN)
    targets, sizes = [], []
    for index in range(BATCH_SIZE):
        member_sizes = ensembles.draw_sizes(first_mean * (1 + 0.002 * index), 0.2, "lognormal", rng) / ensembles.BOND
        library_rows = [
            ensembles.draw_library_row(cluster_library, ensembles.FAMILIES_BY_TYPE["fcc"], size, rng)
            for size in member_sizes
        ]
        particles = [ensembles.library_pairs(cluster_library, row) for row in library_rows]
        values = {"uiso": 0.008, "delta2": 2.0, "stretch": 1.0 + 1e-5 * index}
        f = ensembles.structure_function(particles, np.full(len(particles), 1 / len(particles)), q, values, 0.0)
        g = damped_transform @ f + undamped_transform @ (0.03 * np.sqrt(np.mean(f**2)) * rng.normal(size=q.size))
        targets.append(target.make_target(r, g, settings))
        size = np.array([particle.size for particle in particles]) * ensembles.BOND * values["stretch"]
        sizes.append((size.mean(), size.std() / size.mean()))
    return SimulatedSeries(targets, np.array(sizes), first_mean)


def start_parameters(
    ensemble_model: EnsembleModel, cluster_library: library.Library, series: SimulatedSeries, names: tuple[str, ...]
) -> EnsembleParameters:
    """Return the parameters that all fits of a series start from: those of an ensemble fitted to its middle sample."""
    fcc_rows = np.flatnonzero(cluster_library.families == "fcc")[-16:]
    pool = candidates.candidate_pool([CandidateGroup("library", cluster_library, fcc_rows)])
    values = candidates.select_rows(candidates.fit_all(pool, series.targets[-1]).values, 0)
    basis = series.targets[BATCH_SIZE // 2].basis
    start = ensemble.start_parameters(ensemble_model, basis, values, names, series.first_mean)
    return ensemble.fit_ensemble(ensemble_model, basis, start, names=names, strength=0.0).parameters


def series_row(library_classes: distribution.LibraryClasses, cluster_library: library.Library, n_batches: int) -> dict:
    """Return the row of a series: the time of its fits, and the deviations from the true sizes."""
    ensemble_model = make_ensemble_model(
        library_classes.size_classes, bond=ensembles.BOND, span=SERIES_SPAN, relaxation=library_classes.relaxation
    )
    is_occupied = library_classes.size_classes.n_members > 0
    largest_size = float(library_classes.ensemble_model.size[is_occupied].max())
    series = simulate_series(cluster_library, 0.55 * largest_size)
    names = tuple(name for name in FREE if name != "scale")
    initial_parameters = start_parameters(ensemble_model, cluster_library, series, names)
    bases = [sample_target.basis for sample_target in series.targets]

    def fit_batches():
        return [
            ensemble.fit_series(ensemble_model, bases, initial_parameters, names=names).atom_fractions
            for _ in range(n_batches)
        ]

    batches, first_seconds, median_seconds = timing.time_calls(fit_batches, n_repeats=N_REPEATS)
    fractions, size = np.asarray(batches[0], float), np.asarray(ensemble_model.size, float)
    fractions /= fractions.sum(axis=1, keepdims=True)
    mean = fractions @ size
    width = np.sqrt(fractions @ size**2 - mean**2) / mean
    relative_errors = np.abs(np.stack([mean, width], axis=1) / series.sizes - 1)
    row = {
        "part": "series",
        "files": n_batches * BATCH_SIZE,
        "columns": len(size),
        "files_a_second": n_batches * BATCH_SIZE / median_seconds,
        "first": first_seconds,
        "mean_off": float(np.median(relative_errors[:, 0])),
        "width_off": float(np.median(relative_errors[:, 1])),
        "mean_within_3": float(np.mean(relative_errors[:, 0] < 0.03)),
        "width_within_15": float(np.mean(relative_errors[:, 1] < 0.15)),
    }
    json_rows.print_row(row)
    return row


if __name__ == "__main__":
    main()
