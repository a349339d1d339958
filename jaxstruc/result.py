"""Containers of results from PDFs and from SAXS: values, candidates, distributions of sizes and the base class.

A result holds everything that its tables, figures and folders show. It is written as arrays and one JSON text, and it
is read back without loss. The text states the version of its format. Fields that only a later version of the format
has are kept in `extra`.
"""

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import ase
import numpy as np

from jaxstruc.io.measurement import Setting
from jaxstruc.statistics import Interval

FORMAT_VERSION = 2
"""Version of the written format."""
JSON_KEY = "result.json"
"""Name of the JSON text among the arrays of a file."""
ARRAY_KEY, ATOMS_KEY = "$array", "$atoms"
"""Keys in the JSON text that refer to an array, or to atoms, among the arrays of the file."""
VERSION_1_NAMES = {
    "cluster": "recipe",
    "compared": "holdouts",
    "effective": "effective_samples",
    "fitted": "n_fitted",
    "glance": "classifier_prior",
    "kept": "n_screened",
    "listed": "n_listed",
    "shares": "type_shares",
    "size_seen": "diameter_estimate",
    "verdict": "sample",
}
"""Current name of each field that has another name in version 1 of the written format."""


@dataclass(frozen=True)
class Value:
    """A value that was fitted or kept fixed."""

    value: float
    error: float | None
    """Standard error. None if the value was kept fixed or is at a bound."""
    unit: str


@dataclass(frozen=True)
class Candidate:
    """A cluster that may explain the measurement. For SAXS it is a body (a shape) with a distribution of sizes."""

    source: str
    """Source: network, library, search or file. For SAXS it is body."""
    type: str
    """Type: fcc, hcp, faulted, bcc, sc, icosahedron or decahedron, or "" if it is unknown. For SAXS it is the body."""
    family: str
    """Family of clusters to which the candidate belongs. For SAXS it is the distribution of sizes."""
    recipe: str
    """Rule that builds the cluster within its family, or the name of its file."""
    n_atoms: int
    diameter: float
    """Longest distance between atoms, in Å. For SAXS it is twice the number-weighted mean radius."""
    rw: float
    """Rw of G(r). For SAXS it is the Rw of I(Q), each point of which is divided by its standard error."""
    weight: float
    """Posterior probability among all candidates that were fitted."""
    in_90: bool
    """Whether the candidate belongs to the smallest set with 90 % of the weight."""
    converged: bool
    """Whether the fit converged."""
    remark: str
    values: dict[str, Value]
    """Fitted and fixed values by name."""
    description: str = ""
    """Description of the cluster, e.g. "truncated octahedron, 79 atoms, 14.4 x 11.2 Å"."""
    hexagonal: float = math.nan
    """Share of hexagonal layers among the inner layers; NaN unless the cluster has close-packed layers."""
    notes: dict[str, float] = field(default_factory=dict)
    """Further numbers by name, from the source of the candidate or from a fit of the positions of its atoms."""
    atoms: ase.Atoms | None = None
    """Atoms as fitted. Only the best candidates have atoms, curves and correlations; the others have None."""
    calculated: np.ndarray | None = None
    """[point] Calculated G(r) with the background, in 1/Å², or calculated I(Q)."""
    background: np.ndarray | None = None
    """[point] Background, in the unit of the curve."""
    correlation: np.ndarray | None = None
    """[free, free] Correlation of the fitted values; NaN at a bound."""
    occupancy: np.ndarray | None = None
    """[atom] Probability that each atom exists, 0 to 1. Only particles from a search have it."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only a later version of the written format has."""

    @property
    def label(self) -> str:
        """The description. Without one, it is the type, the number of atoms and the diameter."""
        size = f"{self.n_atoms} atoms, {self.diameter:.1f} Å"
        return self.description or f"{self.type}, {size}".removeprefix(", ")


class Curve(NamedTuple):
    """Data and fit as arrays [point]. The values are G(r) in 1/Å², or for SAXS I(Q) in the unit of the file."""

    x: np.ndarray
    """Distance r in Å, or for SAXS Q in 1/Å."""
    observed: np.ndarray
    calculated: np.ndarray
    """Calculated curve with the background."""
    background: np.ndarray


@dataclass(frozen=True)
class SizeDistribution:
    """Distribution of the sizes of particles, as densities with a 90 % band. All arrays are [size]."""

    method: str
    """Name of the distribution of the best fit."""
    radius: np.ndarray
    """Radius of the sphere of equal volume, in Å, on a logarithmic grid."""
    volume: np.ndarray
    """Density of the volume in ln R. Its integral is 1."""
    volume_low: np.ndarray
    """Lower end of the 90 % band of the density. The band includes all fitted bodies and distributions by weight."""
    volume_high: np.ndarray
    number: np.ndarray
    """Density of the number of particles in ln R. Its integral is 1."""
    number_low: np.ndarray
    number_high: np.ndarray
    min_determined_radius: float = 0.0
    """Smallest radius that the range of Q determines, π/qmax, in Å."""
    max_determined_radius: float = math.inf
    """Largest radius that the range of Q determines, π/qmin, in Å."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only a later version of the written format has."""

    @property
    def table(self) -> dict[str, np.ndarray]:
        """Columns of the distribution by name."""
        names = ("radius", "volume", "volume_low", "volume_high", "number", "number_low", "number_high")
        is_determined = (self.radius >= self.min_determined_radius) & (self.radius <= self.max_determined_radius)
        columns = {name: getattr(self, name) for name in names}
        return columns | {"determined": np.where(is_determined, "yes", "no")}


@dataclass(frozen=True, repr=False)
class Result:
    """The answer for one measurement. `PdfResult` and `SaxsResult` add their own data."""

    technique: ClassVar[str] = ""
    """Name of the technique in the written format."""

    name: str
    """Path of the measured file, as the user gave it."""
    sha256: str
    element: str
    status: str
    """solved, weak or failed. It is weak if the answer does not explain the data; `message` states the reason."""
    message: str
    """Remarks for the user, e.g. the reason of a weak or failed answer."""
    candidates: tuple[Candidate, ...] = ()
    """The best candidates, best first."""
    n_fitted: int = 0
    """Number of candidates that were fitted."""
    ties: int = 0
    """Number of candidates in the 90 % set, the smallest set with 90 % of the weight."""
    types: dict[str, float] = field(default_factory=dict)
    """Probability of each structure type, or for SAXS of each body, the largest first."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """Values of the best candidate by name, with 90 % intervals over all candidates."""
    free: tuple[str, ...] = ()
    """Names of the fitted values."""
    settings: tuple[Setting, ...] = ()
    """Settings of the data with their origins."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further facts by name, e.g. seconds. For PDFs they include diameter_estimate (in Å, from the decay of the data),
    independent (effective number of points), qmin_error and qdamp_error if these settings were inferred from the data,
    and seed and model of a network."""
    versions: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only a later version of the written format has."""

    @property
    def best(self) -> Candidate:
        """The best candidate.

        Raises:
            ValueError: If there is no candidate.
        """
        if not self.candidates:
            raise ValueError(f"Expected a candidate for {self.name}, got none: {self.message}")
        return self.candidates[0]

    @property
    def settings_by_name(self) -> dict[str, float]:
        """Values of the settings by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def frame(self) -> int | None:
        """Number of the curve in a file with several curves, counted from 1; otherwise None."""
        frame = self.settings_by_name.get("frame")
        return None if frame is None else int(frame)

    @property
    def label(self) -> str:
        """Path of the file, with the number of the curve in a file with several curves."""
        return self.name if self.frame is None else f"{self.name}, frame {self.frame}"

    @property
    def data(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Measured curve in the range of the fit: r or Q, and the values there, each [point]. Both may be None."""
        return None, None

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """Distribution of sizes by volume and by number, as columns by name. It is empty if there is none."""
        return {}

    def curve(self, rank: int = 1) -> Curve:
        """Return data and fit of the candidate with this rank. Only the best candidates have a curve.

        Raises:
            ValueError: If the candidate has no curve.
        """
        candidate = self.candidates[rank - 1] if 0 < rank <= len(self.candidates) else None
        x, observed = self.data
        if (
            candidate is None
            or candidate.calculated is None
            or candidate.background is None
            or x is None
            or observed is None
        ):
            count = sum(candidate.calculated is not None for candidate in self.candidates)
            raise ValueError(
                f"Expected a rank up to {count}, because only the best candidates have curves, got {rank}."
            )
        return Curve(x, observed, candidate.calculated, candidate.background)

    def plot(self, rank: int = 1):
        """Return a figure of data, fit and difference for the candidate with this rank. Rank 1 is the best."""
        from jaxstruc.report import figures

        return figures.fit(self, rank=rank)

    def plot_distribution(self):
        """Return a figure of the distribution of sizes.

        Raises:
            ValueError: If the result has no distribution.
        """
        from jaxstruc.report import figures

        return figures.distribution(self)

    def save(self, folder: Path | str) -> None:
        """Write the files of the command, e.g. best/, fits/, results/ and summary.csv, but not settings.json."""
        from jaxstruc.report.folder import save

        save(self, Path(folder))

    def __str__(self) -> str:
        """Return a short table as text."""
        from jaxstruc.report import tables

        return tables.short_table(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the short table as HTML, for a notebook."""
        from jaxstruc.report import tables

        return tables.html(self)


def to_arrays(result: Result) -> dict[str, np.ndarray]:
    """Return a result as arrays by name, for `np.savez`. One of the arrays is the JSON text."""
    arrays: dict[str, np.ndarray] = {}
    head = {"version": FORMAT_VERSION, "technique": result.technique}
    text = json.dumps(head | _encode(result, "", arrays), ensure_ascii=False)
    return {JSON_KEY: np.frombuffer(text.encode(), np.uint8), **arrays}


def from_arrays(arrays: Mapping[str, np.ndarray], classes: Sequence[type[Result]]) -> Result:
    """Return the result whose arrays `to_arrays` returned.

    Args:
        arrays: Arrays by name.
        classes: Classes that the result may have.

    Raises:
        ValueError: If the arrays do not hold a result.
    """
    if JSON_KEY not in arrays:
        raise ValueError(f"Expected a result of jaxstruc, got arrays without {JSON_KEY}; check the file.")
    entries = _decode(json.loads(bytes(arrays[JSON_KEY]).decode()), arrays)
    if entries.pop("version") == 1:
        entries = _from_version_1(entries)
    technique = entries.pop("technique")
    by_technique = {result_class.technique: result_class for result_class in classes}
    if technique not in by_technique:
        raise ValueError(f"Expected a result of {' or '.join(by_technique)}, got one of {technique}; check the file.")
    return _restore(by_technique[technique], entries)


def _from_version_1(entries: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a result of version 1 with current names. Version 1 had one class for all techniques."""
    technique = "pdf" if entries.get("q") is None else "saxs"
    return {"technique": technique} | {name: item for name, item in _renamed(entries).items() if item is not None}


def _renamed(item: Any) -> Any:
    """Return an item with the keys of its dictionaries renamed by `VERSION_1_NAMES`."""
    if isinstance(item, dict):
        return {VERSION_1_NAMES.get(name, name): _renamed(value) for name, value in item.items()}
    return [_renamed(value) for value in item] if isinstance(item, list) else item


def _encode(item: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return an item as JSON. Its arrays and atoms are added to `arrays` under their path."""
    if is_dataclass(item):
        known_entries = {member.name: getattr(item, member.name) for member in fields(item) if member.name != "extra"}
        item = known_entries | getattr(item, "extra", {})
    if isinstance(item, np.ndarray):
        arrays[path] = item
        return {ARRAY_KEY: path}
    if isinstance(item, ase.Atoms):
        arrays[f"{path}/numbers"], arrays[f"{path}/positions"] = item.numbers, item.positions
        return {ATOMS_KEY: path}
    if isinstance(item, Mapping):
        return {name: _encode(value, f"{path}/{name}" if path else name, arrays) for name, value in item.items()}
    if isinstance(item, tuple | list):
        return [_encode(value, f"{path}/{index}", arrays) for index, value in enumerate(item)]
    return item.item() if isinstance(item, np.generic) else item


def _decode(item: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the item that `_encode` encoded, with dictionaries and lists in place of objects."""
    if isinstance(item, dict) and ARRAY_KEY in item:
        return arrays[item[ARRAY_KEY]]
    if isinstance(item, dict) and ATOMS_KEY in item:
        return ase.Atoms(numbers=arrays[f"{item[ATOMS_KEY]}/numbers"], positions=arrays[f"{item[ATOMS_KEY]}/positions"])
    if isinstance(item, dict):
        return {name: _decode(value, arrays) for name, value in item.items()}
    if isinstance(item, list):
        return [_decode(value, arrays) for value in item]
    return item


def _restore(annotation: Any, item: Any) -> Any:
    """Return a decoded item as an object of the annotated type."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if item is None:
        return None
    if origin is types.UnionType:
        return _restore(next(member for member in inner if member is not types.NoneType), item)
    if origin is tuple:
        return tuple(_restore(inner[0], value) for value in item)
    if origin is dict:
        return {name: _restore(inner[1], value) for name, value in item.items()}
    if annotation is Setting:
        return Setting(*item)
    return _restore_fields(annotation, item) if is_dataclass(annotation) else item


def _restore_fields(data_class: Any, item: Mapping[str, Any]) -> Any:
    """Return a decoded item as an object of a dataclass. Unknown entries are added to its `extra`."""
    hints = {member.name: member.type for member in fields(data_class)}
    known_entries = {name: _restore(hints[name], value) for name, value in item.items() if name in hints}
    extra = {name: value for name, value in item.items() if name not in hints}
    return data_class(**known_entries, **({"extra": extra} if "extra" in hints else extra))
