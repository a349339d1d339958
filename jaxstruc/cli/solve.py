"""The commands `solve`, `mine`, `refine`, `saxs`, `classify` and `watch`, which read files and write results."""

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jaxstruc
from jaxstruc import batch, files
from jaxstruc import watch as folder_watch
from jaxstruc.api import make_refine_plan, make_solve_plan
from jaxstruc.batch import (
    MAX_LISTED_FILES,
    PDF_WORKFLOW,
    REFINE_WORKFLOW,
    BatchOutcome,
    BatchRun,
    ProgressCallback,
    Workflow,
    WorkflowPlan,
)
from jaxstruc.io import measurement, reduction
from jaxstruc.io.measurement import Measurement
from jaxstruc.network import weights
from jaxstruc.network.weights import TrainedClassifier
from jaxstruc.options.pdf import ClassifyCommand, ClassifyOptions, MineCommand, RefineCommand, SolveCommand
from jaxstruc.options.series import WatchCommand
from jaxstruc.options.small_angle import SaxsCommand
from jaxstruc.options.validation import check_devices
from jaxstruc.pdf.classify import classify_measurements
from jaxstruc.pdf.result import PdfResult
from jaxstruc.pdf.solve import PdfPlan
from jaxstruc.report import figures, page, summary, tables
from jaxstruc.result import Result
from jaxstruc.scattering import form_factors
from jaxstruc.shards import parse_shard
from jaxstruc.small_angle.result import SaxsResult
from jaxstruc.small_angle.solve import (
    SaxsPlan,
    check_saxs_plan,
    prepare_saxs_measurement,
    read_saxs_curves,
    solve_saxs_measurements,
)

AnyCommand = ClassifyCommand | MineCommand | SolveCommand | SaxsCommand
"""Commands that `watch` runs."""
MEASURED_SUFFIXES = (".gr", ".sq", ".fq", ".dat", ".txt", ".csv")
"""Suffixes of measured PDFs among the arguments of `refine`. The last argument is always a measured PDF."""


def solve(config: SolveCommand | MineCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Find structures for measured PDFs, and write the results.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    shard = parse_shard(config.shard)
    check_devices(config.devices)
    if config.from_neighbour and shard.n_shards > 1:
        raise ValueError("Expected no --shard with --from-neighbour, which needs all curves in one run; drop one.")
    batch.check_inputs(config.files, config.out, PdfPlan(config.element, (), config.options))
    plan = make_solve_plan(config.element, config.options, progress=progress)._replace(n_devices=config.devices)
    return batch.run_batch(
        config.files,
        config.out,
        plan,
        progress=progress,
        show=_settings_printer(config),
        shard=shard,
        n_averaged=config.average,
        from_neighbour=config.from_neighbour,
    )


def saxs(config: SaxsCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Find sizes and shapes from small-angle scattering, and write the results.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    plan = SaxsPlan(config.element, config.options, config.devices)
    check_saxs_plan(plan)
    shard = parse_shard(config.shard)
    check_devices(config.devices)
    batch.check_inputs(config.files, config.out, plan, workflow=SAXS_WORKFLOW)
    return batch.run_batch(
        config.files, config.out, plan, progress=progress, show=_settings_printer(config), workflow=SAXS_WORKFLOW,
        shard=shard, n_averaged=config.average,
    )  # fmt: skip


def refine(config: RefineCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Fit clusters to measured PDFs, and write the results.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    shard = parse_shard(config.shard)
    check_devices(config.devices)
    clusters, measured = split_files(config.files)
    plan = make_refine_plan(clusters, config.options)._replace(n_devices=config.devices)
    batch.check_inputs(measured, config.out, plan, workflow=REFINE_WORKFLOW)
    return batch.run_batch(
        measured, config.out, plan, progress=progress, show=_settings_printer(config), workflow=REFINE_WORKFLOW,
        shard=shard, n_averaged=config.average,
    )  # fmt: skip


def split_files(paths: tuple[Path, ...]) -> tuple[list[Path], list[Path]]:
    """Return the structure files and the measured files among the arguments of `refine`.

    Raises:
        ValueError: If structure files or measured files are missing.
    """
    measured = [path for path in paths[:-1] if path.suffix.lower() in MEASURED_SUFFIXES] + list(paths[-1:])
    clusters = [path for path in paths[:-1] if path.suffix.lower() not in MEASURED_SUFFIXES]
    if not clusters or not measured:
        raise ValueError(
            f"Expected structure files and then measured PDFs, got {' '.join(map(str, paths)) or 'no file'}; name both."
        )
    return clusters, measured


def classify(config: ClassifyCommand, *, progress: ProgressCallback) -> BatchOutcome:
    """Predict types and sizes from measured PDFs, and write summary.csv, types.png, settings.json and the page.

    Raises:
        ValueError: If a mistake concerns all files, or if the only file cannot be used.
    """
    batch.check_paths(config.files, config.out, expected_files="measured .gr files")
    bond = form_factors.bond_length(config.element)
    network = weights.load_classifier(config.options.weights)
    entries = batch.read_entries(config.files, lambda path: _read_pdfs(path, config.options, bond))
    entries = batch.average_entries(entries, config.average)
    measurements = [entry.content for entry in entries if isinstance(entry.content, Measurement)]
    if len(config.files) == 1 and not measurements:
        raise ValueError(entries[0].content)
    progress(0, len(entries), "")
    options = config.options
    new_results = iter(
        classify_measurements(measurements, network, element=config.element, seed=options.seed, types=options.types)
    )
    results = [
        next(new_results)
        if isinstance(entry.content, Measurement)
        else batch.failed_result(entry, PdfResult, config.element)
        for entry in entries
    ]
    progress(len(entries), len(entries), "")
    rows = [
        summary.row(result, summary.CLASSIFY_SUMMARY_COLUMNS) | {"stem": stem}
        for stem, result in zip(batch.unique_stems(entries), results, strict=True)
    ]
    tables.write(config.out / "summary.csv", summary.CLASSIFY_SUMMARY_COLUMNS, rows)
    if measurements:
        figures.write(config.out / "types.png", figures.types(results))
    provenance = ClassifyPlan(config.element, options, network).provenance
    files.write_text(config.out / "settings.json", json.dumps(provenance, indent=1) + "\n")
    page.write_pages(config.out)
    return BatchOutcome(results, 0, rows)


def watch(config: WatchCommand, inner_config: AnyCommand, *, remark: Callable[[str], None]) -> int:
    """Analyse the files of a folder while they are measured, and return the exit status: 3 if some files failed.

    Args:
        config: Folder, and end of the run.
        inner_config: Command that analyses each file, with its options.
        remark: Function that prints a line.

    Raises:
        ValueError: If a mistake concerns all files.
    """
    run = BatchRun(config.out, *_plan_and_workflow(inner_config), keeps_results=False)
    kind = None if isinstance(inner_config, SaxsCommand) else inner_config.options.curve.kind
    patterns = config.options.patterns(kind)
    watched_folder = folder_watch.WatchedFolder(config.folder, patterns)
    remark(f"Watching {config.folder} for {' '.join(patterns)}. Press ctrl-c to end.")

    def report(path: Path, result: Result, seconds: float) -> None:
        if inner_config.json:
            print(tables.json_line(summary.row(result, run.workflow.columns)), flush=True)
        remark(f"{tables.headline(result)} [{seconds:.1f} s after the last change of the file]")

    folder_watch.watch(watched_folder, run, until=config.options.until, report=report, remark=remark)
    n_failed = sum(row["status"] == "failed" for row in run.row_by_stem.values())
    failed = f", {n_failed} of them failed" if n_failed else ""
    remark(f"{len(run.row_by_stem)} rows{failed}. Open {config.out / page.page_name(0)} in a browser.")
    return 3 if n_failed else 0


def _plan_and_workflow(config: AnyCommand) -> tuple[WorkflowPlan, Workflow]:
    """Return the plan of a command, and its workflow."""
    batch.check_paths([Path()], config.out, expected_files="")
    if not isinstance(config, ClassifyCommand):
        check_devices(config.devices)
    if isinstance(config, SaxsCommand):
        saxs_plan = SaxsPlan(config.element, config.options, config.devices)
        check_saxs_plan(saxs_plan)
        return saxs_plan, SAXS_WORKFLOW
    if isinstance(config, ClassifyCommand):
        network = weights.load_classifier(config.options.weights)
        return ClassifyPlan(config.element, config.options, network), CLASSIFY_WORKFLOW
    return make_solve_plan(config.element, config.options)._replace(n_devices=config.devices), PDF_WORKFLOW


def closing_lines(batch_outcome: BatchOutcome, out: Path) -> Iterator[str]:
    """Yield a line for each curve, and then the paths of the table and, unless all curves failed, the figure."""
    results: Sequence[Result] = batch_outcome.results
    yield from (tables.headline(result) for result in results[:MAX_LISTED_FILES])
    if len(results) > MAX_LISTED_FILES:
        yield f"... and {len(results) - MAX_LISTED_FILES} more"
    figure = f" and {out / 'types.png'}" if any(result.types for result in results) else ""
    yield f"Open {out / page.page_name(0)} in a browser, or see {out / 'summary.csv'}{figure}."


def _settings_printer(config: SolveCommand | MineCommand | RefineCommand | SaxsCommand) -> Callable[..., None]:
    """Return the function that prints the settings of a curve, to stderr if the results are printed as JSON."""
    return functools.partial(tables.print_settings, stream=sys.stderr if config.json else sys.stdout)


def _read_pdfs(path: Path, options: ClassifyOptions, bond: float) -> list[Measurement | ValueError]:
    """Return the G(r) of a file with all settings, e.g. qmin. S(Q) and F(Q) are transformed to G(r)."""
    settings = options.data_options
    return batch.prepare_curves(
        batch.read_pdf_curves(path, options.curve),
        lambda curve: measurement.resolve_settings(reduction.reduce_to_pdf(curve, settings), settings, bond=bond),
    )


def _read_saxs(path: Path, plan: SaxsPlan) -> list[Measurement | ValueError]:
    """Return the I(Q) of a file in the range of the fit, after subtraction of the measured background."""
    return batch.prepare_curves(read_saxs_curves(path, plan.data), lambda curve: prepare_saxs_measurement(curve, plan))


class ClassifyPlan(NamedTuple):
    """Element, options and network of `classify`."""

    element: str
    options: ClassifyOptions
    network: TrainedClassifier

    @property
    def provenance(self) -> dict[str, Any]:
        """All settings that determine a result in addition to the measured file, as JSON values."""
        return {"element": self.element} | self.options.recorded_values | {"version": jaxstruc.__version__}


def _classify_measurements(
    measurements: Sequence[Measurement], plan: ClassifyPlan, *, run_measurements: Sequence[Measurement], progress
) -> Iterator[Result]:
    """Yield the prediction for each measurement. It does not depend on the other measurements of the run."""
    options = plan.options
    yield from classify_measurements(
        measurements, plan.network, element=plan.element, seed=options.seed, types=options.types
    )


CLASSIFY_WORKFLOW = Workflow(
    lambda path, plan: _read_pdfs(path, plan.options, form_factors.bond_length(plan.element)),
    _classify_measurements,
    PdfResult,
    summary.CLASSIFY_SUMMARY_COLUMNS,
    "measured .gr files",
    "",
    saves_results=False,
)
"""Workflow of `classify` for files that come one after another."""
SAXS_WORKFLOW = Workflow(
    _read_saxs,
    solve_saxs_measurements,
    SaxsResult,
    summary.SAXS_SUMMARY_COLUMNS,
    "measured I(Q)",
    "candidates/, distribution/ and fits/",
)
"""Workflow of `saxs`."""
