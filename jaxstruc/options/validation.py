"""Checks of options, values of options as JSON or as arguments of a command, and types that the options share.

An option is a field of a frozen dataclass. Its annotation holds the type, the help and the bounds. Options are checked
in the same way in Python and on the command line. The module imports neither JAX nor NumPy, so that `--help` is quick.
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
"""Marker of a field that has no flag on the command line."""
Inline = tyro.conf.arg(name="")
"""Annotation that shows the options of a nested dataclass next to the other arguments of the command."""
Unset = tyro.conf.arg(help_behavior_hint="")
"""Annotation of an option that has no default value, so that the help shows none."""
Files = tyro.conf.Positional[
    Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE [FILE ...]", help_behavior_hint="")]
]
"""Files that a command reads."""
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]
"""Required path of the output."""
Folder = Annotated[
    Path,
    tyro.conf.arg(
        aliases=["-o"],
        help="Folder for the results. Files whose results are already there, with the same settings, are skipped.",
    ),
]
"""Required folder of the results."""
ShardText = Annotated[
    str,
    tyro.conf.arg(
        help="Part of the curves to solve, for several jobs with the same files and the same --out. For example, 3/16 "
        "is the third of 16 parts. `jaxstruc merge OUT` then writes the summary of all parts."
    ),
]
"""Part of a run."""
Cache = Annotated[
    bool, tyro.conf.arg(help="Keep compiled programs in the cache folder, so that the next run starts faster.")
]
"""Switch of the cache of compiled programs."""
JsonOutput = Annotated[
    bool,
    tyro.conf.arg(
        help="Print the results for other programs: one JSON object for each curve, with the columns of summary.csv "
        "and their units. All other texts go to stderr."
    ),
]
"""Switch of the output as JSON."""


@dataclass(frozen=True)
class Bounds:
    """Range of a number, written in the annotation of a field."""

    low: float = -math.inf
    high: float = math.inf
    exclusive: bool = False
    """Whether `low` itself is outside the range."""

    def allow(self, value: float) -> bool:
        """Return whether a number is in the range."""
        return (value > self.low if self.exclusive else value >= self.low) and value <= self.high

    @property
    def description(self) -> str:
        """The range in words, for messages."""
        low = f"{'above' if self.exclusive else 'of at least'} {self.low:g}"
        return low if self.high == math.inf else f"{low} and at most {self.high:.10g}"


UNBOUNDED = Bounds()
POSITIVE = Bounds(0, exclusive=True)
NOT_NEGATIVE = Bounds(0)
COUNT = Bounds(1)
"""Range of a whole number of at least one."""
Devices = Annotated[
    int | None,
    tyro.conf.arg(
        help="Largest number of files that are solved at once, on the cores of a CPU or on several accelerators.",
        help_behavior_hint="(default: one for each accelerator, or for each of up to four cores)",
    ),
    COUNT,
]
"""Number of devices of a run."""
AverageCount = Annotated[
    int,
    tyro.conf.arg(
        help="Number of repeated curves that are averaged before the analysis: consecutive curves of a file with "
        "several curves (--frame all), or consecutive files."
    ),
    COUNT,
]
"""Number of averaged curves."""
Frame = Annotated[
    int | Literal["all"] | None,
    tyro.conf.arg(
        help="Number of the curve in a file with several curves, counted from 1, or all of them (all).",
        help_behavior_hint="",
    ),
    COUNT,
]
"""Selection of one curve, or of all curves, in a file with several curves."""
SEED = Bounds(0, 2**32 - 1)
"""Range of a seed."""
MAX_POINTS = 1_000_000
"""Largest number of points of a simulated curve."""


class Options:
    """Base class of all dataclasses of options."""

    def check(self) -> None:
        """Check each field by its annotation, and then all fields together.

        Raises:
            ValueError: If an option is not allowed. The message is the same in Python and on the command line.
        """
        for name, annotation in _annotations(type(self)).items():  # type: ignore[arg-type]
            value = vars(self)[name]
            if isinstance(value, Options):
                value.check()
            else:
                _check_field(name, annotation, value)
        self.check_together()

    def check_together(self) -> None:
        """Check conditions that involve several fields.

        Raises:
            ValueError: If options contradict each other.
        """

    @property
    def recorded_values(self) -> dict[str, Any]:
        """Values of all options by name, as JSON. The checksum of a file replaces its path."""
        values: dict[str, Any] = {}
        for name, value in vars(self).items():
            values |= value.recorded_values if isinstance(value, Options) else {name: _as_json(value)}
        return values


def check_devices(n_devices: int | None) -> None:
    """Check the number of devices of a run.

    Raises:
        ValueError: If the number is not a whole number of at least one.
    """
    _check_field("devices", Devices, n_devices)


def parameter_help(name: str, supplement: str = "", *, default: str | None = None):
    """Return the annotation with the help of an option that sets a parameter of the table `PARAMETERS`.

    Args:
        name: Name of the parameter.
        supplement: Sentences that follow the description of the parameter in the help.
        default: Default value that the help shows. With None it is the default value of the table.
    """
    table_default = PARAMETERS[name].default
    if default is None and table_default is not None:
        default = f"{table_default:g}"
    return tyro.conf.arg(
        help=option_help(name, supplement), help_behavior_hint=f"(default: {default})" if default else ""
    )


def override(value, default):
    """Return the value of a keyword, or the default if the keyword is None."""
    return default if value is None else value


def check_order(axis: str, low: float | None, high: float | None) -> None:
    """Check that a range of Q or r starts before it ends.

    Raises:
        ValueError: If the range does not start before it ends.
    """
    if low is not None and high is not None and not low < high:
        raise ValueError(
            f"Expected {axis}min < {axis}max, got {low:g} and {high:g}; correct --{axis}min or --{axis}max."
        )


def check_axis(axis: str, low: float, high: float, step: float | None) -> None:
    """Check the range and the step of a simulated curve.

    Raises:
        ValueError: If the range is empty, or if it has too many points.
    """
    check_order(axis, low, high)
    if step is not None and not 0 < step <= high - low:
        raise ValueError(
            f"Expected --{axis}step above 0 and at most {axis}max - {axis}min = {high - low:g}, got {step:g}."
        )
    if step is not None and (high - low) / step > MAX_POINTS:
        raise ValueError(f"Expected at most {MAX_POINTS} points, got {(high - low) / step:.0f}; raise --{axis}step.")


def command_arguments(options: Options, *, include_defaults: bool) -> list[str]:
    """Return the command-line arguments that set these options.

    Args:
        options: Options of a command. Nested groups of options follow in order.
        include_defaults: Whether options that have their default value are written too.
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
    """Return the flag of a field on the command line. A last underscore, as in with_, is left out."""
    return "--" + name.rstrip("_").replace("_", "-")


@lru_cache
def _annotations(options: type) -> dict[str, Any]:
    """Return the annotations of all fields of a dataclass by name."""
    return get_type_hints(options, include_extras=True)


def _check_field(name: str, annotation: Any, value: Any) -> None:
    """Raise an error if the annotation of a field does not allow its value."""
    bounds, label = UNBOUNDED, flag(name)
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        bounds = next((item for item in metadata if isinstance(item, Bounds)), UNBOUNDED)
        label = name if POSITIONAL in metadata else label
    if get_origin(annotation) in (Union, UnionType):
        names = [name for part in get_args(annotation) if get_origin(part) is Literal for name in get_args(part)]
        if value is None or value in names:
            return
        annotation = next(part for part in get_args(annotation) if part is not type(None))
        if get_origin(annotation) is not Literal and names and isinstance(value, str):
            raise ValueError(f"Expected a number or {' or '.join(names)} for {label}, got {value!r}.")
    if get_origin(annotation) is tuple:
        _check_several(label, get_args(annotation)[0], bounds, value)
    elif get_origin(annotation) is Literal:
        if value not in get_args(annotation):
            *other_choices, last_choice = get_args(annotation)
            raise ValueError(f"Expected {label} {', '.join(other_choices)} or {last_choice}, got {value!r}.")
    else:
        _check_value(label, annotation, bounds, value)


def _check_several(label: str, value_type: Any, bounds: Bounds, values: Any) -> None:
    """Raise an error if values are not a tuple, or if one of them is not allowed."""
    if not isinstance(values, tuple):
        raise ValueError(f"Expected a tuple for {label}, got {values!r}.")
    if get_origin(value_type) is not Literal:
        for value in values:
            _check_value(label, value_type, bounds, value)
    elif unknown := sorted({str(value) for value in values if value not in get_args(value_type)}):
        names = get_args(value_type)
        raise ValueError(
            f"Expected one or more of {', '.join(names)} for {label}, got {', '.join(unknown)}; pass only these names, "
            f"e.g. {label} {' '.join(names[:2])}."
        )


def _check_value(label: str, value_type: Any, bounds: Bounds, value: Any) -> None:
    """Raise an error if a value has another type, is not finite, or is out of its bounds."""
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
    """Return the value of an option as JSON."""
    if isinstance(value, Path):
        return files.sha256(value) if value.is_file() else str(value)
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
