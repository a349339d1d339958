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
from jaxstruc.data.options import QOptions
from jaxstruc.data.text import expect
from jaxstruc.inference import outcomes, pattern
from jaxstruc.inference.options import BODIES, DISTRIBUTIONS, SizeOptions
from jaxstruc.inference.pattern import Pattern
from jaxstruc.inference.saxs_result import SaxsResult
from jaxstruc.scattering import contrast
from jaxstruc.solver import sized

TOGETHER = 16
"""Files whose fits go together."""
ABSOLUTE = {"1/cm": 1.0, "1/m": 0.01, "": 1.0}
"""Units of an absolute scale, in 1/cm; where a file says none, --absolute says 1/cm."""


STEEPEST = 6.0
"""Largest power of 1/Q of a background."""


class Plan(NamedTuple):
    """What is to be done with each measurement."""

    element: str = ""
    data: QOptions = QOptions()
    fit: SizeOptions = SizeOptions()

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
        own = {"command": "saxs", "element": self.element, **dataclasses.asdict(self.data)}
        own["background"] = None if self.data.background is None else str(self.data.background)
        own |= {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self.fit).items()}
        return own | {"version": jaxstruc.__version__}


def check(plan: Plan) -> None:
    """Check that what is asked of fits can be.

    Raises:
        ValueError: where it cannot.
    """
    for name, asked, known in (("body", plan.bodies, BODIES), ("distribution", plan.distributions, DISTRIBUTIONS)):
        if unknown := sorted(set(asked) - set(known)):
            raise ValueError(f"Expected --{name} among {', '.join(known)}, got {', '.join(unknown)}; drop it.")
    if plan.element:
        contrast.element(plan.element)
    power = plan.fit.power_law
    if power is not None and not 0 < power <= STEEPEST:
        raise ValueError(f"Expected --power-law above 0 and at most {STEEPEST:g}, got {power:g}; correct it.")
    if plan.data.background_scale != 1 and plan.data.background is None:
        raise ValueError("Expected --background for --background-scale, got none; pass the solvent's file.")
    if not plan.fit.absolute:
        if plan.fit.sld is not None or plan.fit.solvent != "vacuum":
            raise ValueError("Expected --absolute beside --sld and --solvent, got none; add it, or drop them.")
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
    if own.background is not None:
        under = formats.read(own.background, q_unit=own.q_unit, wavelength=own.wavelength, wanted=("iq",))
        found = subtraction.subtracted(found, under, scale=own.background_scale)
    return prepared(found, plan)


def prepared(measurement: Measurement, plan: Plan) -> Measurement:
    """Return a measurement in the range of the fit, checked.

    Raises:
        ValueError: where settings contradict the data, or nothing can be fitted.
    """
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
