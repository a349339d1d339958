"""From measured I(Q) to results: data, fits of all bodies and distributions, their weights.

Measurement -> SaxsData -> SaxsFits -> ModelAverage -> SaxsResult
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jaxstruc
from jaxstruc.io import points, read
from jaxstruc.io.background import subtract_background
from jaxstruc.io.columns import expect
from jaxstruc.io.measurement import Measurement
from jaxstruc.options.small_angle import BODIES, DISTRIBUTIONS, QOptions, SaxsOptions, SizeOptions
from jaxstruc.small_angle import contrast, fit, result
from jaxstruc.small_angle.data import SaxsData, prepare_saxs_data
from jaxstruc.small_angle.result import SaxsResult

FILES_PER_BATCH = 16
"""Files whose fits go together."""
INTENSITY_UNIT_FACTORS = {"1/cm": 1.0, "1/m": 0.01, "": 1.0}
"""Units of an absolute scale, in 1/cm; where a file says none, --absolute says 1/cm."""


class SaxsPlan(NamedTuple):
    """What is to be done with each measurement."""

    element: str = ""
    options: SaxsOptions = SaxsOptions()

    @property
    def data(self) -> QOptions:
        """Settings of the measurements."""
        return self.options.data

    @property
    def fit(self) -> SizeOptions:
        """What is fitted."""
        return self.options.fit

    @property
    def bodies(self) -> tuple[str, ...]:
        """That are fitted."""
        return self.fit.body or BODIES

    @property
    def distributions(self) -> tuple[str, ...]:
        """That are fitted."""
        return self.fit.distribution or DISTRIBUTIONS

    @property
    def contrast(self) -> float:
        """10⁻⁶/Å², of particles and solvent; 1 where the scale is arbitrary."""
        if not self.fit.absolute:
            return 1.0
        particle_sld = contrast.element_sld(self.element) if self.fit.sld is None else self.fit.sld
        return particle_sld - _solvent_sld(self.fit.solvent)

    @property
    def provenance(self) -> dict[str, Any]:
        """What, beside a file, decides its result; as JSON."""
        settings = {"command": "saxs", "element": self.element} | self.options.recorded_values
        return settings | {"version": jaxstruc.__version__}


def check_saxs_plan(plan: SaxsPlan, *, background: Measurement | None = None) -> None:
    """Check that a plan can be followed.

    Args:
        plan: what is to be done.
        background: the solvent's I(Q), if it is given in place of its file.

    Raises:
        ValueError: if it cannot.
    """
    plan.options.check()
    if plan.element:
        contrast.element_sld(plan.element)
    if plan.data.background_scale != 1 and plan.data.background is None and background is None:
        raise ValueError("Expected --background for --background-scale, got none; pass the solvent's file.")
    if not plan.fit.absolute:
        return
    if not plan.element and plan.fit.sld is None:
        raise ValueError("Expected --element or --sld for --absolute, got neither; pass one of them.")
    if abs(plan.contrast) < 1e-6:
        raise ValueError("Expected particles unlike their solvent, got no contrast; check --sld and --solvent.")


def _solvent_sld(name: str) -> float:
    """Return the scattering length density of a solvent by its name, or the number that is said, in 10⁻⁶/Å²."""
    try:
        return float(name)
    except ValueError:
        return contrast.solvent_sld(name)


def read_saxs_measurement(path: Path, plan: SaxsPlan) -> Measurement:
    """Return the I(Q) that a file holds, with all settings, checked; the background's, if any, taken off.

    Raises:
        ValueError: where it cannot be used.
    """
    options = plan.data
    measurement = read.read_curve(
        path, q_unit=options.q_unit, wavelength=options.wavelength, frame=options.frame, accepted_kinds=("iq",)
    )
    return prepare_saxs_measurement(measurement, plan)


def prepare_saxs_measurement(
    measurement: Measurement, plan: SaxsPlan, *, background: Measurement | None = None
) -> Measurement:
    """Return a measurement in the range of the fit, checked; the background's, if any, is subtracted.

    Args:
        measurement: I(Q).
        plan: what is to be done.
        background: the solvent's I(Q), in place of the file that the plan names.

    Raises:
        ValueError: if settings contradict the data, or nothing can be fitted.
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
            f"{prepared_measurement.name}; leave --absolute out",
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
    """Yield the result of each measurement; one that cannot be answered is a result that says so.

    Args:
        measurements: as `prepare_saxs_measurement` returns them.
        plan: what is to be done.
        run_measurements: all measurements of the run; a result is the same whatever they are.
        progress: called with measurements done, measurements in all and a remark.
    """
    del run_measurements
    for start in range(0, len(measurements), FILES_PER_BATCH):
        batch = measurements[start : start + FILES_PER_BATCH]
        if progress:
            progress(start, len(measurements), f"{batch[0].name}: {len(plan.bodies)} bodies")
        start_time = time.perf_counter()
        batch_data = [prepare_saxs_data(batch_measurement, plan.fit) for batch_measurement in batch]
        batch_fits = fit.fit_all(batch_data, plan.bodies, plan.distributions)
        shared_seconds = (time.perf_counter() - start_time) / len(batch)
        for measurement, saxs_data, fits in zip(batch, batch_data, batch_fits, strict=True):
            start_time = time.perf_counter()
            result = saxs_result_from_fits(measurement, saxs_data, fits, plan)
            seconds = shared_seconds + time.perf_counter() - start_time
            yield dataclasses.replace(result, facts=result.facts | {"seconds": seconds})


def saxs_result_from_fits(
    measurement: Measurement, saxs_data: SaxsData, fits: fit.SaxsFits, plan: SaxsPlan
) -> SaxsResult:
    """Return the result of one measurement from its fits."""
    scale_factor = INTENSITY_UNIT_FACTORS[measurement.intensity_unit] / plan.contrast**2 if plan.fit.absolute else 1.0
    saxs_result = result.build_result(
        measurement, saxs_data, fits, element=plan.element, distributions=plan.distributions, scale_factor=scale_factor
    )
    contrast_facts = {"contrast": plan.contrast, "solvent": plan.fit.solvent} if plan.fit.absolute else {}
    return dataclasses.replace(
        saxs_result, facts=saxs_result.facts | contrast_facts | {"intensity_unit": measurement.intensity_unit}
    )
