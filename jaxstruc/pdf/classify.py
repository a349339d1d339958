"""Results of the classifier alone: structure types and sizes of measured PDFs, without fitted candidates."""

import math
import time
from collections.abc import Mapping, Sequence

import jaxstruc
from jaxstruc.clusters import known_phases
from jaxstruc.io.measurement import Measurement, composition_remark
from jaxstruc.network.classifier.predict import ClassifierOutput, classify_pdfs, range_warnings
from jaxstruc.network.weights import TrainedClassifier, load_shell_detector
from jaxstruc.options.pdf import SHELL_DETECTOR, TypesName
from jaxstruc.pdf.classifier_prior import MAX_TRAINING_ATOMS
from jaxstruc.pdf.fit_quality import LIBRARY_EDGE_FRACTION
from jaxstruc.pdf.result import MIN_TYPE_PROBABILITY, PdfResult, undecided_type_remark
from jaxstruc.scattering import form_factors
from jaxstruc.statistics import Interval

LARGE_SIZE_FRACTION = 0.5
"""Predicted number of atoms, relative to the largest of the training, from which a particle may be larger than those
of the training."""
SHELL_REMARK = (
    "the PDF has signs of a shell of light atoms, e.g. ligands or oxygen, which the classifier does not know: "
    "type and size may be wrong"
)
"""Reason why an answer is weak if the shell detector finds a shell."""
MIN_SOLVED_TYPE_PROBABILITY = 0.5
"""Smallest probability of the most probable type for the status "solved"."""


def classify_measurements(
    measurements: Sequence[Measurement],
    network: TrainedClassifier,
    *,
    element: str,
    seed: int = 0,
    types: TypesName = "element",
) -> list[PdfResult]:
    """Return the types and sizes that the classifier predicts for PDFs.

    Args:
        measurements: Measurements with values of all settings (e.g. qmin).
        network: Trained classifier.
        element: Element of the sample, e.g. Pt.
        seed: Seed of the random draws from which the intervals are computed.
        types: Prior weights of the structure types: those of the element, or equal weights of all types.
    """
    bond, start_time = form_factors.bond_length(element), time.perf_counter()
    type_weights = known_phases.type_weights(element if types == "element" else "")
    outputs = classify_pdfs(
        measurements, network, bond=bond, seed=seed, type_weights=type_weights,
        shell_detector=load_shell_detector(SHELL_DETECTOR),
    )  # fmt: skip
    seconds = (time.perf_counter() - start_time) / max(len(measurements), 1)
    facts = {"seconds": seconds, "model": network.card["name"]}
    return [
        classification_result(measurement, output, element=element, bond=bond, facts=facts)
        for measurement, output in zip(measurements, outputs, strict=True)
    ]


def classification_result(
    measurement: Measurement, output: ClassifierOutput, *, element: str, bond: float, facts: dict
) -> PdfResult:
    """Return the classifier's prediction for one PDF as a `PdfResult`.

    The status is "weak" if the PDF lies outside the range of the training data, if the particle may be larger than
    those of the training, if the header of the file states other elements, if the data have signs of a shell of light
    atoms, or if no type is clearly the most probable.
    """
    reasons = list(range_warnings(measurement, output, bond=bond))
    if composition := composition_remark(measurement, element):
        reasons.append(composition.text)
    elif output.has_shell:
        reasons.append(SHELL_REMARK)
    intervals = size_intervals(output.intervals)
    if math.isinf(intervals["n_atoms"].high):
        reasons.append(
            f"the particle may be larger than those of the training, which have up to {MAX_TRAINING_ATOMS} atoms: its "
            f"diameter is at least {intervals['diameter'].low:.0f} Å"
        )
    remarks: list[str] = []
    (type_name, probability), (rival, _) = list(output.type_probabilities.items())[:2]
    if probability < MIN_TYPE_PROBABILITY:
        (reasons if probability < MIN_SOLVED_TYPE_PROBABILITY else remarks).append(
            undecided_type_remark(type_name, rival, output.type_probabilities)
        )
    return PdfResult(
        measurement.name,
        measurement.sha256,
        element,
        "weak" if reasons else "solved",
        "; ".join([*reasons, *remarks, *measurement.warnings]),
        types=output.type_probabilities,
        intervals=intervals,
        settings=measurement.settings,
        facts=facts | {"distance": output.novelty_score},
        versions={"jaxstruc": jaxstruc.__version__},
    )


def size_intervals(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Return the predicted intervals, in which the sizes of a very large particle only have a lower bound.

    The network has no particles above a number of atoms in its training, so that it predicts a size below this limit
    for all larger particles. The values are then the lower bounds, and the upper bounds are infinite. A wide interval
    about a small size only shows that the size is uncertain.
    """
    n_atoms = intervals["n_atoms"]
    is_near_limit = n_atoms.value >= LARGE_SIZE_FRACTION * MAX_TRAINING_ATOMS
    if n_atoms.high < LIBRARY_EDGE_FRACTION * MAX_TRAINING_ATOMS or not is_near_limit:
        return dict(intervals)
    lower_bounds = {
        name: Interval(intervals[name].low, intervals[name].low, math.inf) for name in ("n_atoms", "diameter")
    }
    return {**intervals, **lower_bounds}
