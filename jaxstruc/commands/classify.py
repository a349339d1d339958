"""What `jaxstruc classify` does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxstruc.commands import arguments
from jaxstruc.commands.progress import ProgressCallback
from jaxstruc.commands.run import MAX_LISTED_FILES, BatchOutcome
from jaxstruc.data import formats, measurement, sine
from jaxstruc.data.measurement import Measurement
from jaxstruc.inference.pdf_result import PdfResult
from jaxstruc.network import weights
from jaxstruc.report import figures, overview, summary, tables
from jaxstruc.result import Result
from jaxstruc.scattering import form_factors
from jaxstruc.solver.classified import classify_measurements


def classify(config: arguments.Classify, *, progress: ProgressCallback) -> BatchOutcome:
    """Name the samples behind measured PDFs, and write summary.csv and types.png.

    Raises:
        ValueError: for a mistake that concerns all files, or where the only file is bad.
    """
    if not config.files:
        raise ValueError("Expected at least one file, got none; name the measured .gr files.")
    bond = form_factors.bond_length(config.element)
    network = weights.load_classifier(config.options.weights)
    read = [_read(path, config, bond) for path in config.files]
    if len(read) == 1 and isinstance(read[0], PdfResult):
        raise ValueError(read[0].message)
    good = [one for one in read if isinstance(one, Measurement)]
    progress(0, len(read), "")
    named = iter(classify_measurements(good, network, element=config.element, seed=config.options.seed))
    results = [one if isinstance(one, PdfResult) else next(named) for one in read]
    progress(len(read), len(read), "")
    rows = [summary.row(result, summary.CLASSIFY_SUMMARY) for result in results]
    tables.write(config.out / "summary.csv", summary.CLASSIFY_SUMMARY, rows)
    if good:
        figures.write(config.out / "types.png", figures.types(results))
    return BatchOutcome(results, 0)


def ending(outcome: BatchOutcome, out: Path) -> Iterator[str]:
    """Yield what a person wants to know, a line a file."""
    results: Sequence[Result] = outcome.results
    yield from (overview.headline(result) for result in results[:MAX_LISTED_FILES])
    if len(results) > MAX_LISTED_FILES:
        yield f"... and {len(results) - MAX_LISTED_FILES} more"
    yield f"See {out / 'summary.csv'} and {out / 'types.png'}."


def _read(path: Path, config: arguments.Classify, bond: float) -> Measurement | PdfResult:
    """Return a measurement with its settings, or why there is none."""
    try:
        curve = config.options.curve
        data = formats.read(
            path, q_unit=curve.q_unit, wavelength=curve.wavelength, kind=curve.kind, accepted_kinds=formats.PDF_KINDS
        )
        return measurement.resolve_settings(
            sine.reduce_to_pdf(data, config.options.data), config.options.data, bond=bond
        )
    except (ValueError, OSError) as error:
        return PdfResult(str(path), "", config.element, "failed", " ".join(str(error).split()))
