"""What the classifier says of measured PDFs, as results without candidates."""

import time
from collections.abc import Sequence

import jaxstruc
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference.pdf_result import MIN_TYPE_PROBABILITY, PdfResult
from jaxstruc.network import naming
from jaxstruc.network.naming import Named
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.scattering import form_factors

SURE = 0.5
"""Least probability of a type that is called solved."""


def classified(
    measurements: Sequence[Measurement], network: TrainedClassifier, *, element: str, seed: int = 0
) -> list[PdfResult]:
    """Return what is known of PDFs at one look.

    Args:
        measurements: with all settings.
        network: trained.
        element: of the sample, as Pt.
        seed: of the draws that intervals are read from.
    """
    bond, begun = form_factors.bond_length(element), time.perf_counter()
    named = naming.named(measurements, network, bond=bond, seed=seed)
    seconds = (time.perf_counter() - begun) / max(len(measurements), 1)
    facts = {"seconds": seconds, "model": network.card["name"]}
    return [
        told(one, own, element=element, bond=bond, facts=facts) for one, own in zip(measurements, named, strict=True)
    ]


def told(measurement: Measurement, own: Named, *, element: str, bond: float, facts: dict) -> PdfResult:
    """Return what is known of a PDF as a result; weak where it lies outside the training, or no type stands out."""
    said = list(naming.outside(measurement, own, bond=bond))
    remarks: list[str] = []
    (kind, sure), (rival, _) = list(own.types.items())[:2]
    if sure < MIN_TYPE_PROBABILITY:
        (said if sure < SURE else remarks).append(f"type undecided between {kind} and {rival}")
    return PdfResult(
        measurement.name,
        measurement.sha256,
        element,
        "weak" if said else "solved",
        "; ".join([*said, *remarks, *measurement.warnings]),
        types=own.types,
        intervals=own.intervals,
        settings=measurement.settings,
        facts=facts | {"distance": own.oddness},
        versions={"jaxstruc": jaxstruc.__version__},
    )
