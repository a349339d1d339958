"""The checks of options, the same for Python and the command line, and what is recorded of options.

An option is one field of a dataclass: its annotation holds type, help and bounds, and everything here follows from it.
Without JAX and NumPy, so that `--help` is quick.
"""

import dataclasses
import math
import numbers
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro

from jaxstruc import files
from jaxstruc.parameters import PARAMETERS, option_help

POSITIONAL = get_args(tyro.conf.Positional[int])[1]
"""Mark of a field that has no flag on the command line."""
Inline = tyro.conf.arg(name="")
"""Lets the options of a command stand beside its other arguments."""
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
Folder = Annotated[
    Path,
    tyro.conf.arg(
        aliases=["-o"], help="Folder for the results. Files done there before with the same settings are skipped."
    ),
]
Cache = Annotated[bool, tyro.conf.arg(help="Keep compiled programs in the cache folder, for the next run.")]
"""Arguments that several commands have."""


@dataclass(frozen=True)
class Bounds:
    """Range of a number; it stands in the annotation of a field."""

    low: float = -math.inf
    high: float = math.inf
    exclusive: bool = False
    """Whether `low` itself is refused."""

    def allow(self, value: float) -> bool:
        """Return whether a number lies within."""
        return (value > self.low if self.exclusive else value >= self.low) and value <= self.high

    @property
    def description(self) -> str:
        """The range in words."""
        low = f"{'above' if self.exclusive else 'of at least'} {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:.10g}"


UNBOUNDED = Bounds()
POSITIVE = Bounds(0, exclusive=True)
NOT_NEGATIVE = Bounds(0)
COUNT = Bounds(1)
"""Range of a number of things of which there is at least one."""
SEED = Bounds(0, 2**32 - 1)
MAX_POINTS = 1_000_000
"""Largest number of points of a simulated curve."""


class Options:
    """Base of all dataclasses of options."""

    def check(self) -> None:
        """Check each field by its annotation, and then the fields together.

        Raises:
            ValueError: if an option is not allowed; the message is the same in Python and on the command line.
        """
        for name, annotation in _annotations(type(self)).items():  # type: ignore[arg-type]
            value = vars(self)[name]
            if isinstance(value, Options):
                value.check()
            else:
                _check_field(name, annotation, value)
        self.check_together()

    def check_together(self) -> None:
        """Check what no field shows alone.

        Raises:
            ValueError: if options contradict each other.
        """

    @property
    def recorded_values(self) -> dict[str, Any]:
        """All options by name, as JSON; a file stands as the checksum of its content."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            values |= value.recorded_values if isinstance(value, Options) else {name: _as_json(value)}
        return values


def parameter_help(name: str, extra_help: str = "", *, otherwise: str = ""):
    """Return how the command line shows an optional number of the table of parameters, with the table's default."""
    default = PARAMETERS[name].default
    default_text = "" if default is None else f" [{default:g}{otherwise}]"
    return tyro.conf.arg(help=option_help(name, extra_help) + default_text, metavar="FLOAT", help_behavior_hint="")


def override(value, default):
    """Return a keyword's value, or the option's if the keyword is not given."""
    return default if value is None else value


def check_order(axis: str, low: float | None, high: float | None) -> None:
    """Check that a range of q or r starts before it ends.

    Raises:
        ValueError: if it does not.
    """
    if low is not None and high is not None and not low < high:
        raise ValueError(
            f"Expected {axis}min < {axis}max, got {low:g} and {high:g}; correct --{axis}min or --{axis}max."
        )


def check_axis(axis: str, low: float, high: float, step: float | None) -> None:
    """Check the range and the step of a simulated curve.

    Raises:
        ValueError: if there is no range, or if there are too many points.
    """
    check_order(axis, low, high)
    if step is not None and not 0 < step <= high - low:
        raise ValueError(
            f"Expected --{axis}step above 0 and at most {axis}max - {axis}min = {high - low:g}, got {step:g}."
        )
    if step is not None and (high - low) / step > MAX_POINTS:
        raise ValueError(f"Expected at most {MAX_POINTS} points, got {(high - low) / step:.0f}; raise --{axis}step.")


def command_arguments(options: Options, *, include_defaults: bool) -> list[str]:
    """Return the arguments that give these options on the command line.

    Args:
        options: of a command; the options of nested groups follow in order.
        include_defaults: whether options that have their default are written too.
    """
    arguments: list[str] = []
    for field in dataclasses.fields(options):  # type: ignore[arg-type]
        value = vars(options)[field.name]
        if isinstance(value, Options):
            arguments += command_arguments(value, include_defaults=include_defaults)
            continue
        is_default = value == field.default
        if value is None or (is_default and not include_defaults) or (is_default and (value is False or value == ())):
            continue
        if isinstance(value, bool):
            arguments.append(flag(field.name) if value else f"--no-{flag(field.name)[2:]}")
        else:
            arguments += [flag(field.name), *map(str, value if isinstance(value, tuple) else [value])]
    return arguments


def flag(name: str) -> str:
    """Return the flag of a field on the command line."""
    return "--" + name.replace("_", "-")


@lru_cache
def _annotations(options: type) -> dict[str, Any]:
    """Return the annotations of all fields of a dataclass."""
    return get_type_hints(options, include_extras=True)


def _check_field(name: str, annotation: Any, value: Any) -> None:
    """Refuse a value that the annotation of its field does not allow."""
    bounds, label = UNBOUNDED, flag(name)
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        bounds = next((item for item in metadata if isinstance(item, Bounds)), UNBOUNDED)
        label = name if POSITIONAL in metadata else label
    if get_origin(annotation) in (Union, UnionType):
        if value is None:
            return
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is tuple:
        _check_several(label, get_args(annotation)[0], bounds, value)
    elif get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            *other_choices, last_choice = get_args(annotation)
            raise ValueError(f"Expected {label} {', '.join(other_choices)} or {last_choice}, got {value!r}.")
    else:
        _check_value(label, annotation, bounds, value)


def _check_several(label: str, value_type: Any, bounds: Bounds, values: Any) -> None:
    """Refuse several values if they are no tuple, or one of them is not allowed."""
    if not isinstance(values, tuple):
        raise ValueError(f"Expected a tuple for {label}, got {values!r}.")
    if get_origin(value_type) is not Literal:
        for value in values:
            _check_value(label, value_type, bounds, value)
    elif unknown := sorted({str(value) for value in values if value not in get_args(value_type)}):
        raise ValueError(
            f"Expected {label} among {', '.join(get_args(value_type))}, got {', '.join(unknown)}; drop it."
        )


def _check_value(label: str, value_type: Any, bounds: Bounds, value: Any) -> None:
    """Refuse a value of another type, a number that is not finite, and one that is out of its bounds."""
    type_names = {int: "a whole number", float: "a number", bool: "True or False", Path: "a Path", str: "a text"}
    abstract_types: dict[type, type] = {int: numbers.Integral, float: numbers.Real}
    if not isinstance(value, abstract_types.get(value_type, value_type)) or (
        value_type in abstract_types and isinstance(value, bool)
    ):
        raise ValueError(f"Expected {type_names[value_type]} for {label}, got {value!r}.")
    if value_type in abstract_types and not math.isfinite(value):
        raise ValueError(f"Expected a finite {label}, got {value}.")
    if value_type in abstract_types and not bounds.allow(value):
        raise ValueError(f"Expected {label} {bounds.description}, got {value:.10g}.")


def _as_json(value: Any) -> Any:
    """Return a value as JSON."""
    if isinstance(value, Path):
        return files.sha256(value) if value.is_file() else str(value)
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
