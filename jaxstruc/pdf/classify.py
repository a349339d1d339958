"""What the classifier says of measured PDFs, as results without candidates."""

import time
from collections.abc import Sequence

import jaxstruc
from jaxstruc.io.measurement import Measurement
from jaxstruc.network.classifier.predict import ClassifierOutput, classify_pdfs, range_warnings
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.pdf.result import MIN_TYPE_PROBABILITY, PdfResult
from jaxstruc.scattering import form_factors

MIN_SOLVED_TYPE_PROBABILITY = 0.5
"""Least probability of a type that is called solved."""


def classify_measurements(
    measurements: Sequence[Measurement], network: TrainedClassifier, *, element: str, seed: int = 0
) -> list[PdfResult]:
    """Return the types and sizes that the classifier predicts for PDFs.

    Args:
        measurements: with all settings.
        network: trained.
        element: of the sample, e.g. Pt.
        seed: of the draws that intervals are read from.
    """
    bond, start_time = form_factors.bond_length(element), time.perf_counter()
    outputs = classify_pdfs(measurements, network, bond=bond, seed=seed)
    seconds = (time.perf_counter() - start_time) / max(len(measurements), 1)
    facts = {"seconds": seconds, "model": network.card["name"]}
    return [
        classification_result(measurement, output, element=element, bond=bond, facts=facts)
        for measurement, output in zip(measurements, outputs, strict=True)
    ]


def classification_result(
    measurement: Measurement, output: ClassifierOutput, *, element: str, bond: float, facts: dict
) -> PdfResult:
    """Return what is known of a PDF as a result; weak where it lies outside the training, or no type stands out."""
    reasons = list(range_warnings(measurement, output, bond=bond))
    remarks: list[str] = []
    (type_name, probability), (rival, _) = list(output.type_probabilities.items())[:2]
    if probability < MIN_TYPE_PROBABILITY:
        (reasons if probability < MIN_SOLVED_TYPE_PROBABILITY else remarks).append(
            f"type undecided between {type_name} and {rival}"
        )
    return PdfResult(
        measurement.name,
        measurement.sha256,
        element,
        "weak" if reasons else "solved",
        "; ".join([*reasons, *remarks, *measurement.warnings]),
        types=output.type_probabilities,
        intervals=output.intervals,
        settings=measurement.settings,
        facts=facts | {"distance": output.novelty_score},
        versions={"jaxstruc": jaxstruc.__version__},
    )
