"""Analysis of measured I(Q): preparation, fits of all bodies and size distributions, and results.

The steps are Measurement -> SaxsData -> SaxsFits -> ModelAverage -> SaxsResult.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ase.data import atomic_numbers

import jaxstruc
from jaxstruc.blas import with_one_blas_thread
from jaxstruc.devices import map_in_order
from jaxstruc.io import points, read
from jaxstruc.io.columns import ReadError, expect
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.reduction import subtract_background
from jaxstruc.options.small_angle import (
    BODIES,
    DEFAULT_SHAPED_BODIES,
    DISTRIBUTIONS,
    SHAPED_BODIES,
    QOptions,
    SaxsOptions,
    SizeOptions,
)
from jaxstruc.small_angle import contrast, fit, result, shape_fits
from jaxstruc.small_angle.data import SaxsData, prepare_saxs_data
from jaxstruc.small_angle.result import SaxsResult

FILES_PER_BATCH = 16
"""Number of files that are fitted in one batch."""
INTENSITY_UNIT_FACTORS = {"1/cm": 1.0, "1/m": 0.01, "": 1.0}
"""Factors that convert units of an absolute scale to 1/cm. A file that states no unit is taken to be in 1/cm."""


class SaxsPlan(NamedTuple):
    """Element and options of an analysis. They are the same for all measurements of a run."""

    element: str = ""
    options: SaxsOptions = SaxsOptions()
    n_devices: int | None = None
    """Largest number of batches that are fitted at once; None for the number that the machine can work on."""

    @property
    def data(self) -> QOptions:
        """Options of the data."""
        return self.options.data

    @property
    def fit(self) -> SizeOptions:
        """Options of the fit."""
        return self.options.fit

    @property
    def bodies(self) -> tuple[str, ...]:
        """Names of the bodies that are fitted."""
        return self.fit.body or BODIES

    @property
    def distributions(self) -> tuple[str, ...]:
        """Names of the size distributions that are fitted."""
        return self.fit.distribution or DISTRIBUTIONS

    @property
    def contrast(self) -> float:
        """Contrast of the particles in the solvent in 10⁻⁶/Å², or 1 if the scale is arbitrary."""
        return self.particle_contrast if self.fit.absolute else 1.0

    @property
    def contrast_ratio(self) -> float:
        """Contrast of the shell divided by that of the core, or 1 if no core-shell sphere is fitted."""
        if self.fit.shell_sld is None:
            return 1.0
        return (self.fit.shell_sld - _solvent_sld(self.fit.solvent)) / self.particle_contrast

    @property
    def particle_contrast(self) -> float:
        """Contrast of the particles, or of their cores, in 10⁻⁶/Å²."""
        particle_sld = contrast.element_sld(self.element) if self.fit.sld is None else self.fit.sld
        return particle_sld - _solvent_sld(self.fit.solvent)

    @property
    def provenance(self) -> dict[str, Any]:
        """All settings that determine a result in addition to the measured file, as JSON values."""
        settings = {"command": "saxs", "element": self.element} | self.options.recorded_values
        return settings | {"version": jaxstruc.__version__}


def check_saxs_plan(plan: SaxsPlan, *, background: Measurement | None = None) -> None:
    """Check that the options of a plan are complete and consistent.

    Args:
        plan: Element and options.
        background: Measured I(Q) of the solvent, if it is not read from a file.

    Raises:
        ValueError: If an option is missing, unknown or contradicts another one.
    """
    plan.options.check()
    if plan.element and not atomic_numbers.get(plan.element):
        raise ValueError(f"Expected the symbol of an element in --element, e.g. Au, got {plan.element}; correct it.")
    if plan.data.background_scale != 1 and plan.data.background is None and background is None:
        raise ValueError("Expected --background with --background-scale, got none; pass the file of the solvent.")
    if not plan.fit.absolute and plan.fit.shell_sld is None:
        return
    if not plan.element and plan.fit.sld is None:
        name = "--absolute" if plan.fit.absolute else "--body core-shell"
        raise ValueError(f"Expected --element or --sld with {name}, got neither; pass one of them.")
    if abs(plan.particle_contrast) < 1e-6:
        raise ValueError(
            "Particles and solvent have the same scattering length density, so there is no contrast. "
            "Check --sld and --solvent."
        )
    if plan.fit.shell_sld is not None and abs(plan.contrast_ratio - 1) < 1e-6:
        raise ValueError(
            "Shell and core have the same scattering length density, so that the shell is not visible. "
            "Check --shell-sld and --sld."
        )


def _solvent_sld(name: str) -> float:
    """Return the scattering length density of a solvent in 10⁻⁶/Å², from its name or from a number as text."""
    try:
        return float(name)
    except ValueError:
        return contrast.solvent_sld(name)


def read_saxs_curves(path: Path, options: QOptions) -> Sequence[Measurement | ReadError]:
    """Return one or all I(Q) of a file. If all are read, an error replaces a curve that cannot be used."""
    q_unit, wavelength = options.q_unit, options.wavelength
    if options.frame == "all":
        return read.read_all(path, q_unit=q_unit, wavelength=wavelength, accepted_kinds=("iq",))
    return [read.read_curve(path, q_unit=q_unit, wavelength=wavelength, frame=options.frame, accepted_kinds=("iq",))]


def prepare_saxs_measurement(
    measurement: Measurement, plan: SaxsPlan, *, background: Measurement | None = None
) -> Measurement:
    """Return a measurement in the range of the fit, with the background subtracted.

    Args:
        measurement: Measured I(Q).
        plan: Element and options.
        background: Measured I(Q) of the solvent, used instead of the file in the plan.

    Raises:
        ValueError: If the settings contradict the data, or if the data cannot be fitted.
    """
    data = plan.data
    if background is None and data.background is not None:
        background = read.read_curve(
            data.background, q_unit=data.q_unit, wavelength=data.wavelength, accepted_kinds=("iq",)
        )
    if background is not None:
        measurement = subtract_background(measurement, background, scale=data.background_scale)
    prepared_measurement = points.resolve_q_range(measurement, qmin=plan.data.qmin, qmax=plan.data.qmax)
    if plan.fit.absolute:
        expect(
            prepared_measurement.intensity_unit in INTENSITY_UNIT_FACTORS,
            f"intensities in 1/cm or 1/m for --absolute, got {prepared_measurement.intensity_unit} in "
            f"{prepared_measurement.name}; leave out --absolute",
        )
    prepare_saxs_data(prepared_measurement, plan.fit)
    return prepared_measurement


def solve_saxs_measurements(
    measurements: Sequence[Measurement],
    plan: SaxsPlan,
    *,
    run_measurements: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[SaxsResult]:
    """Yield the result of each measurement. If the analysis fails, the result has the status "failed".

    Args:
        measurements: Measurements that `prepare_saxs_measurement` returned.
        plan: Element and options.
        run_measurements: All measurements of the run. They do not change a result.
        progress: Function that is called with the number of finished measurements, their total number and a text.
    """
    del run_measurements
    n_done = 0

    @with_one_blas_thread
    def solve_batch(batch: Sequence[Measurement]) -> list[SaxsResult]:
        if progress:
            progress(n_done, len(measurements), f"{batch[0].name}: {len(plan.bodies)} bodies")
        start_time = time.perf_counter()
        batch_data = [prepare_saxs_data(measurement, plan.fit) for measurement in batch]
        batch_fits = fit_bodies(batch_data, plan)
        results = [
            saxs_result_from_fits(measurement, saxs_data, fits, plan)
            for measurement, saxs_data, fits in zip(batch, batch_data, batch_fits, strict=True)
        ]
        seconds = (time.perf_counter() - start_time) / len(batch)
        return [dataclasses.replace(result, facts=result.facts | {"seconds": seconds}) for result in results]

    batches = [measurements[start : start + FILES_PER_BATCH] for start in range(0, len(measurements), FILES_PER_BATCH)]
    for results in map_in_order(solve_batch, batches, n_devices=plan.n_devices):
        yield from results
        n_done += len(results)


def fit_bodies(patterns: Sequence[SaxsData], plan: SaxsPlan) -> list[fit.SaxsFits]:
    """Return the fits of all bodies to each pattern.

    If the plan names no bodies, those with a shape parameter are fitted only to patterns that no body with one length
    and one population explains.
    """
    all_fits = fit.fit_all(patterns, tuple(body for body in plan.bodies if body in BODIES), plan.distributions)
    shaped_bodies: tuple[str, ...] = tuple(body for body in plan.bodies if body in SHAPED_BODIES)
    indices = list(range(len(patterns)))
    if not plan.fit.body:
        shaped_bodies = DEFAULT_SHAPED_BODIES
        indices = [index for index in indices if not shape_fits.is_explained(all_fits[index], patterns[index])]
    new_fits = shape_fits.with_shape_fits(
        [all_fits[index] for index in indices], [patterns[index] for index in indices], shaped_bodies,
        plan.distributions, contrast_ratio=plan.contrast_ratio,
    )  # fmt: skip
    for index, fits in zip(indices, new_fits, strict=True):
        all_fits[index] = fits
    return all_fits


@with_one_blas_thread
def saxs_result_from_fits(
    measurement: Measurement, saxs_data: SaxsData, fits: fit.SaxsFits, plan: SaxsPlan
) -> SaxsResult:
    """Return the result of one measurement from its fits.

    If the intensities are absolute, the scale is the volume fraction of the particles.
    """
    scale_factor = INTENSITY_UNIT_FACTORS[measurement.intensity_unit] / plan.contrast**2 if plan.fit.absolute else 1.0
    saxs_result = result.build_result(
        measurement, saxs_data, fits, element=plan.element, distributions=plan.distributions, scale_factor=scale_factor
    )
    contrast_facts = {"contrast": plan.contrast, "solvent": plan.fit.solvent} if plan.fit.absolute else {}
    if plan.fit.shell_sld is not None:
        contrast_facts = contrast_facts | {"shell_sld": plan.fit.shell_sld, "solvent": plan.fit.solvent}
    return dataclasses.replace(
        saxs_result, facts=saxs_result.facts | contrast_facts | {"intensity_unit": measurement.intensity_unit}
    )
