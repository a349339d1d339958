"""Claim: candidates that the classifier finds improbable need not be fitted: the best cluster is still found, faster.

    python experiments/classifier_screening.py                (300 simulated files, 45 minutes on a core)
    python experiments/classifier_screening.py --quick        (few files; writes nothing)
    python experiments/classifier_screening.py --data DIR     (the measured files too, which are not in the repository)

Each file is mined twice. The first time, with `--screen none`, every candidate is screened and the best 1500 are
fitted. The second time, with the classifier, only probable candidates are screened and the best 300 are fitted. A file
is "held" if the lowest Rw with the classifier is within 2 % of the lowest Rw without it. The files have the particles
and instruments of `unlisted_particles.py`: off-rule particles with three levels of noise, and particles of the rules
without noise. Times are those of complete results without compilation, one file after the other in one process.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import json_rows
import numpy as np
import synthetic_particles
import unlisted_particles

import jaxstruc
from jaxstruc.api import make_solve_plan
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.pdf import CLASSIFIER, EnsembleName, MineOptions
from jaxstruc.pdf import classifier_prior
from jaxstruc.pdf.classifier_prior import LoadedClassifier
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement, solve_measurements

RESULTS = Path(__file__).parent / "results" / "classifier_screening.jsonl"
MEASURED_FILES = {
    "Pt_1.8nm_S3.gr": "Pt",
    "Au144_pMBA.gr": "Au",
    "Pt_nanoparticles_pdfttp.gr": "Pt",
    "Au_ScattBO.gr": "Au",
}
NOISES = (0.0, 0.03, 0.1)
RW_TOLERANCE = 1.02


def mining_plan(element: str, classifier_screen: LoadedClassifier, ensemble: EnsembleName = "none") -> PdfPlan:
    """Return the plan that files are mined by, with equal weights of all structure types."""
    return make_solve_plan(element, MineOptions(ensemble=ensemble, screen="none", types="all"))._replace(
        classifier=classifier_screen
    )


def simulated_files(draws: int) -> list[tuple[dict[str, Any], Measurement]]:
    """Return the labels and the measurements of simulated particles."""
    files = []
    for part, particle_kinds, noises in (
        ("offrule", synthetic_particles.OFF_RULE_KINDS, NOISES),
        ("rules", synthetic_particles.RULE_KINDS, (0.0,)),
    ):
        case_set = unlisted_particles.CaseSet(particle_kinds=particle_kinds, noises=noises)
        cases = [
            unlisted_particles.simulate_case(labels, case_set)
            for labels in unlisted_particles.case_labels(part, case_set, draws)
        ]
        files += [(case.labels | {"type": case.particle.type}, case.measurement) for case in cases]
    return files


def measured_files(folder: Path) -> list[tuple[dict[str, Any], Measurement]]:
    """Return the labels and the measurements of the measured files, with all settings."""
    return [
        ({"part": "measured", "file": name, "element": element},
         prepare_measurement(jaxstruc.read(folder / name), mining_plan(element, LoadedClassifier(None))))
        for name, element in MEASURED_FILES.items()
    ]  # fmt: skip


def mine_files(
    files: Sequence[tuple[dict[str, Any], Measurement]], classifier_screen: LoadedClassifier, screen_name: str
) -> list[dict[str, Any]]:
    """Return one row for each file. The first file of each element is mined twice, to leave out compilation."""
    result_rows = []
    for element in sorted({entry.get("element", "Pt") for entry, _ in files}):
        element_files = [(entry, data) for entry, data in files if entry.get("element", "Pt") == element]
        plan, data = mining_plan(element, classifier_screen), [entry[1] for entry in element_files]
        list(solve_measurements(data[:1], plan, run_measurements=data))
        for (entry, _), result in zip(
            element_files, solve_measurements(data, plan, run_measurements=data), strict=True
        ):
            prior = result.classifier_prior
            result_rows.append(entry | {
                "screen": screen_name, "rw": min(candidate.rw for candidate in result.candidates),
                "found": f"{result.best.family} {result.best.recipe}", "found_type": result.best.type,
                "fitted": result.n_fitted, "seconds": result.facts["seconds"], "message": result.message,
                "listed": prior.n_listed if prior else None, "kept": prior.n_screened if prior else None,
                "effective": prior.effective_samples if prior else None,
            })  # fmt: skip
            json_rows.print_row(result_rows[-1])
    return result_rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Mine the files with the selected screens, print the rows and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screens", nargs="*", default=[], help="none or classifier; by default both")
    parser.add_argument("--draws", type=int, default=9, help="number of particles of each kind [9]")
    parser.add_argument("--weights", type=Path, default=CLASSIFIER, help="weights of the classifier")
    parser.add_argument("--data", type=Path, help="folder of the measured files")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="mine few files, and write nothing")
    options = parser.parse_args(arguments)
    if unknown_screens := set(options.screens) - {"none", "classifier"}:
        parser.error(f"expected none or classifier, got {', '.join(sorted(unknown_screens))}")
    files = simulated_files(1)[:4] if options.quick else simulated_files(options.draws)
    files += measured_files(options.data) if options.data else []
    provenance = json_rows.provenance()
    all_rows = json_rows.read_lines(options.out)
    for screen_name in options.screens or ["none", "classifier"]:
        classifier_screen = (
            classifier_prior.load_optional_classifier(options.weights)
            if screen_name == "classifier"
            else LoadedClassifier(None)
        )
        if screen_name == "classifier" and classifier_screen.network is None:
            parser.error(classifier_screen.missing_reason)
        screen_rows = [row | provenance for row in mine_files(files, classifier_screen, screen_name)]
        all_rows = [row for row in all_rows if row["screen"] != screen_name] + screen_rows
        if not options.quick:
            json_rows.write_lines(all_rows, options.out)
    print(summary_text(all_rows if not options.quick else screen_rows))


def summary_text(all_rows: Sequence[dict[str, Any]]) -> str:
    """Return a line with the share of held files and the median time of both screens in seconds."""

    def case_key(row):
        return tuple(str(row.get(name)) for name in ("part", "kind", "seed", "draw", "noise", "file"))

    unscreened_rows, screened_rows = (
        {case_key(row): row for row in all_rows if row["screen"] == name} for name in ("none", "classifier")
    )
    common_keys = sorted(set(unscreened_rows) & set(screened_rows))
    if not common_keys:
        return "Expected both screens, got one; run the other too."
    is_held = np.array(
        [screened_rows[case]["rw"] <= RW_TOLERANCE * unscreened_rows[case]["rw"] for case in common_keys]
    )
    seconds = [
        np.median([rows_by_case[case]["seconds"] for case in common_keys])
        for rows_by_case in (unscreened_rows, screened_rows)
    ]
    return f"held {is_held.mean():.1%} of {len(common_keys)}; {seconds[0]:.2f} s a file, screened {seconds[1]:.2f} s"


if __name__ == "__main__":
    main()
