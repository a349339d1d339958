"""The way of measured I(Q) to their results: patterns, fits of all bodies and distributions, weights.

Measurement -> Pattern -> fits -> posterior -> Result
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jaxstruc
from jaxstruc.data import formats, points, subtraction
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.text import expect
from jaxstruc.inference import outcomes, pattern
from jaxstruc.inference.pattern import Pattern
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.options.small_angle import BODIES, DISTRIBUTIONS, QOptions, SaxsOptions, SizeOptions
from jaxstruc.scattering import contrast
from jaxstruc.solver import sized

TOGETHER = 16
"""Files whose fits go together."""
ABSOLUTE = {"1/cm": 1.0, "1/m": 0.01, "": 1.0}
"""Units of an absolute scale, in 1/cm; where a file says none, --absolute says 1/cm."""


class Plan(NamedTuple):
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
        own = contrast.element(self.element) if self.fit.sld is None else self.fit.sld
        return own - _solvent(self.fit.solvent)

    @property
    def recorded(self) -> dict[str, Any]:
        """What, beside a file, decides its result; as JSON."""
        settings = {"command": "saxs", "element": self.element} | self.options.recorded
        return settings | {"version": jaxstruc.__version__}


def check(plan: Plan, *, background: Measurement | None = None) -> None:
    """Check that a plan can be followed.

    Args:
        plan: what is to be done.
        background: the solvent's I(Q), if it is given in place of its file.

    Raises:
        ValueError: if it cannot.
    """
    plan.options.check()
    if plan.element:
        contrast.element(plan.element)
    if plan.data.background_scale != 1 and plan.data.background is None and background is None:
        raise ValueError("Expected --background for --background-scale, got none; pass the solvent's file.")
    if not plan.fit.absolute:
        return
    if not plan.element and plan.fit.sld is None:
        raise ValueError("Expected --element or --sld for --absolute, got neither; pass one of them.")
    if abs(plan.contrast) < 1e-6:
        raise ValueError("Expected particles unlike their solvent, got no contrast; check --sld and --solvent.")


def _solvent(name: str) -> float:
    """Return the scattering length density of a solvent by its name, or the number that is said, in 10⁻⁶/Å²."""
    try:
        return float(name)
    except ValueError:
        return contrast.solvent(name)


def read(path: Path, plan: Plan) -> Measurement:
    """Return the I(Q) that a file holds, with all settings, checked; the background's, if any, taken off.

    Raises:
        ValueError: where it cannot be used.
    """
    own = plan.data
    found = formats.read(path, q_unit=own.q_unit, wavelength=own.wavelength, frame=own.frame, wanted=("iq",))
    return prepared(found, plan)


def prepared(measurement: Measurement, plan: Plan, *, background: Measurement | None = None) -> Measurement:
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
        background = formats.read(data.background, q_unit=data.q_unit, wavelength=data.wavelength, wanted=("iq",))
    if background is not None:
        measurement = subtraction.subtracted(measurement, background, scale=data.background_scale)
    found = points.resolved(measurement, qmin=plan.data.qmin, qmax=plan.data.qmax)
    if plan.fit.absolute:
        expect(
            found.units in ABSOLUTE,
            f"intensities in 1/cm or 1/m for --absolute, got {found.units} in {found.name}; leave --absolute out",
        )
    pattern.pattern(found, plan.fit)
    return found


def answers(
    measurements: Sequence[Measurement],
    plan: Plan,
    *,
    among: Sequence[Measurement] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> Iterator[SaxsResult]:
    """Yield the result of each measurement; one that cannot be answered is a result that says so.

    Args:
        measurements: of `prepared`.
        plan: what is to be done.
        among: all measurements of the run; a result is the same whatever they are.
        progress: called with measurements done, measurements in all and a remark.
    """
    del among
    for first in range(0, len(measurements), TOGETHER):
        some = measurements[first : first + TOGETHER]
        if progress:
            progress(first, len(measurements), f"{some[0].name}: {len(plan.bodies)} bodies")
        begun = time.perf_counter()
        patterns = [pattern.pattern(one, plan.fit) for one in some]
        found = outcomes.fit_all(patterns, plan.bodies, plan.distributions)
        shared = (time.perf_counter() - begun) / len(some)
        for measurement, seen, fits in zip(some, patterns, found, strict=True):
            begun = time.perf_counter()
            result = answer(measurement, seen, fits, plan)
            seconds = shared + time.perf_counter() - begun
            yield dataclasses.replace(result, facts=result.facts | {"seconds": seconds})


def answer(measurement: Measurement, seen: Pattern, fits: outcomes.Fits, plan: Plan) -> SaxsResult:
    """Return the result of one measurement from its fits."""
    factor = ABSOLUTE[measurement.units] / plan.contrast**2 if plan.fit.absolute else 1.0
    found = sized.told(measurement, seen, fits, element=plan.element, distributions=plan.distributions, factor=factor)
    more = {"contrast": plan.contrast, "solvent": plan.fit.solvent} if plan.fit.absolute else {}
    return dataclasses.replace(found, facts=found.facts | more | {"intensity_unit": measurement.units})
