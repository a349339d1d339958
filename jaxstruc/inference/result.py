"""What was found for one measurement, whole: candidates with weights, values with errors and units, curves, origins.

A `Result` is made in memory; tables, pictures and pages take it and nothing else. As arrays and one JSON text it is
written and read back without loss. The text says its version; fields that this version does not know are kept.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import ase
import numpy as np

from jaxstruc.data.measurement import Setting
from jaxstruc.inference.distribution import Compared, Distribution
from jaxstruc.inference.glance import Glance
from jaxstruc.inference.granulometry import SURE, UNTOLD, Granulometry
from jaxstruc.statistics import Interval

VERSION = 1
"""Of the written form."""
TEXT = "result.json"
"""Name of the text among the arrays."""
ARRAY, ATOMS = "$array", "$atoms"
"""Keys in the text that stand for an array, or atoms, kept beside it."""


@dataclass(frozen=True)
class Value:
    """A fitted or held value."""

    value: float
    error: float | None
    """Standard error; None where it was held or is at a bound."""
    unit: str


@dataclass(frozen=True)
class Candidate:
    """A cluster that may be behind the measurement; of small angles a body with a distribution of sizes."""

    source: str
    """network, library, search or file; body."""
    type: str
    """fcc, hcp, faulted, bcc, sc, icosahedron or decahedron, empty where it is not known; the body."""
    family: str
    """The rule that lists it; the distribution."""
    cluster: str
    """Its parameters within the family, or its file's name."""
    n_atoms: int
    diameter: float
    """Å. Longest distance between its atoms; twice the mean radius by number."""
    rw: float
    """Of G(r), or of I(Q) over its noise."""
    weight: float
    """Relative to all that were fitted."""
    in_90: bool
    """Whether it is of the smallest set with 90 % of the weight."""
    converged: bool
    """Of the fit."""
    remark: str
    values: dict[str, Value]
    """Of the fit, by name."""
    description: str = ""
    """The cluster in a chemist's words: name, type, atoms, longest and shortest diameter, planes at the surface; of the
    best candidates alone."""
    hexagonal: float = math.nan
    """Share of hexagonal layers among the inner layers; NaN but for close-packed layers."""
    notes: dict[str, float] = field(default_factory=dict)
    """More that its source or a later step knows of it."""
    atoms: ase.Atoms | None = None
    """As fitted; of the best candidates alone. So for the next three."""
    calculated: np.ndarray | None = None
    """[point] G(r) with the background, in 1/Å²; or I(Q)."""
    background: np.ndarray | None = None
    """[point] 1/Å²"""
    correlation: np.ndarray | None = None
    """[free, free] of the fitted values; NaN at a bound."""
    occupancy: np.ndarray | None = None
    """[atom] How sure each atom is, 0 to 1; of searched particles alone."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""


class Curve(NamedTuple):
    """Data and fit; all [point]: G in 1/Å² over r in Å, or I in the unit of the file over Q in 1/Å."""

    x: np.ndarray
    observed: np.ndarray
    calculated: np.ndarray
    """With the background."""
    background: np.ndarray


@dataclass(frozen=True, repr=False)
class Result:
    """What was found for one measurement."""

    name: str
    """Of the measured file, as it was given."""
    sha256: str
    element: str
    status: str
    """solved; weak where the answer does not explain the data, `message` says why; or failed."""
    message: str
    """What a person should know."""
    candidates: tuple[Candidate, ...] = ()
    """The best, best first."""
    fitted: int = 0
    """Number of candidates fitted."""
    ties: int = 0
    """Number of them in the 90 % set."""
    types: dict[str, float] = field(default_factory=dict)
    """Probability of each type, the largest first."""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """n_atoms, diameter (Å) and, of close-packed layers, hexagonal: the best's, with the 90 % interval of all. Of small
    angles radius, pd and r_eq, by number, and mean_diameter and width, by volume."""
    free: tuple[str, ...] = ()
    """What was fitted."""
    ensemble: Distribution | None = None
    """The sample as a distribution of particles, and whether it is one; None where that was not asked or cannot be."""
    glance: Glance | None = None
    """What the classifier said before any fit, and how far the fits agree; None where it was not asked of a library."""
    r: np.ndarray | None = None
    """[point] Å, in the range of the fit."""
    observed: np.ndarray | None = None
    """[point] G(r), in 1/Å²."""
    q: np.ndarray | None = None
    """[point] 1/Å, in the range of the fit, where I(Q) was measured; candidates' curves are then I(Q) in its unit."""
    intensity: np.ndarray | None = None
    """[point] In the unit of the file."""
    sigma: np.ndarray | None = None
    """[point] Its standard error, as given or as inferred."""
    sizes: Granulometry | None = None
    """The distribution of sizes from I(Q)."""
    settings: tuple[Setting, ...] = ()
    """Of the data, with where they came from."""
    facts: dict[str, Any] = field(default_factory=dict)
    """size_seen (Å), independent (points), seconds, qmin_error and qdamp_error where these were inferred, and seed and
    model where a network was asked."""
    versions: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of a later version."""

    @property
    def best(self) -> Candidate:
        """The first candidate.

        Raises:
            ValueError: where there is none.
        """
        if not self.candidates:
            raise ValueError(f"Expected a candidate for {self.name}, got none: {self.message}")
        return self.candidates[0]

    @property
    def given(self) -> dict[str, float]:
        """The settings' values by name."""
        return {setting.name: setting.value for setting in self.settings}

    @property
    def verdict(self) -> str:
        """What the sample is: single, distribution or undecided; empty where it was not judged."""
        return self.ensemble.verdict if self.ensemble else ""

    @property
    def body(self) -> str:
        """What small angles say of the particles' body, "not determined" where several are likely; empty for PDFs."""
        if self.q is None or not self.types:
            return ""
        name, share = max(self.types.items(), key=lambda item: item[1])
        return name if share >= SURE else UNTOLD

    @property
    def distribution(self) -> dict[str, np.ndarray]:
        """The distribution of sizes, as columns by name, by volume and by number; empty where there is none."""
        own = self.sizes or self.ensemble
        return own.table if own else {}

    def curve(self, rank: int = 1) -> Curve:
        """Return data and fit of the best candidate, or of one at a rank whose curve is kept.

        Raises:
            ValueError: where there is none.
        """
        one = self.candidates[rank - 1] if 0 < rank <= len(self.candidates) else None
        x, observed = (self.r, self.observed) if self.q is None else (self.q, self.intensity)
        if one is None or one.calculated is None or one.background is None or x is None or observed is None:
            kept = sum(one.calculated is not None for one in self.candidates)
            raise ValueError(f"Expected a rank up to {kept}, whose curves are kept, got {rank}; see candidates.")
        return Curve(x, observed, one.calculated, one.background)

    def plot(self, rank: int = 1):
        """Return a figure of data, fit and difference, of the best candidate or the one at a rank up to five."""
        from jaxstruc.report import pictures

        return pictures.fit(self, rank=rank)

    def plot_distribution(self):
        """Return a figure of the distribution of sizes by type, and of what it predicts beside the best cluster.

        Raises:
            ValueError: where there is none.
        """
        from jaxstruc.report import pictures

        return pictures.distribution(self)

    def save(self, folder: Path | str) -> None:
        """Write the files that the command writes: best/, candidates/, fits/, families/, results/ and summary.csv."""
        from jaxstruc.report import folders

        folders.save(self, Path(folder))

    def __str__(self) -> str:
        """Return a short table."""
        from jaxstruc.report import tables

        return tables.short(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the short table for a notebook."""
        from jaxstruc.report import tables

        return tables.html(self)


def to_arrays(result: Result) -> dict[str, np.ndarray]:
    """Return a result as arrays by name, its text among them, for `np.savez`."""
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps({"version": VERSION, **_told(result, "", arrays)}, ensure_ascii=False)
    return {TEXT: np.frombuffer(text.encode(), np.uint8), **arrays}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Result:
    """Return the result that `to_arrays` took apart.

    Raises:
        ValueError: where the arrays are not of a result.
    """
    if TEXT not in arrays:
        raise ValueError(f"Expected a result of jaxstruc, got arrays without {TEXT}; check the file.")
    told = _untold(json.loads(bytes(arrays[TEXT]).decode()), arrays)
    told.pop("version")
    told["settings"] = tuple(Setting(*setting) for setting in told["settings"])
    told["free"] = tuple(told["free"])
    told["candidates"] = tuple(
        _made(Candidate, {**one, "values": {name: Value(**value) for name, value in one["values"].items()}})
        for one in told["candidates"]
    )
    told["intervals"] = {name: Interval(**one) for name, one in told.get("intervals", {}).items()}
    if told.get("glance"):
        own = told["glance"]
        own["intervals"] = {name: Interval(**one) for name, one in own["intervals"].items()}
        told["glance"] = _made(Glance, own)
    if told.get("sizes"):
        told["sizes"] = _made(Granulometry, told["sizes"])
    if told.get("ensemble"):
        told["ensemble"] = _ensemble(told["ensemble"])
    return _made(Result, told)


def _ensemble(told: dict[str, Any]) -> Distribution:
    """Return a distribution of its dictionaries."""
    told["mean_diameter"], told["width"] = (Interval(**told[name]) for name in ("mean_diameter", "width"))
    told["shares"] = {name: Interval(**one) for name, one in told["shares"].items()}
    told["compared"] = tuple(Compared(**one) for one in told["compared"])
    told["types"] = tuple(told["types"])
    return _made(Distribution, told)


def _told(item: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return an item as JSON has it; arrays and atoms go into `arrays`, under their path."""
    if isinstance(item, Result | Candidate | Value | Distribution | Interval | Compared | Granulometry | Glance):
        own = {each.name: getattr(item, each.name) for each in fields(item) if each.name != "extra"}
        item = own | getattr(item, "extra", {})
    if isinstance(item, np.ndarray):
        arrays[path] = item
        return {ARRAY: path}
    if isinstance(item, ase.Atoms):
        arrays[f"{path}/numbers"], arrays[f"{path}/positions"] = item.numbers, item.positions
        return {ATOMS: path}
    if isinstance(item, Mapping):
        return {name: _told(value, f"{path}/{name}" if path else name, arrays) for name, value in item.items()}
    if isinstance(item, tuple | list):
        return [_told(value, f"{path}/{place}", arrays) for place, value in enumerate(item)]
    return item.item() if isinstance(item, np.generic) else item


def _untold(item: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what `_told` was given, but for the classes of its dictionaries."""
    if isinstance(item, dict) and ARRAY in item:
        return arrays[item[ARRAY]]
    if isinstance(item, dict) and ATOMS in item:
        return ase.Atoms(numbers=arrays[f"{item[ATOMS]}/numbers"], positions=arrays[f"{item[ATOMS]}/positions"])
    if isinstance(item, dict):
        return {name: _untold(value, arrays) for name, value in item.items()}
    if isinstance(item, list):
        return [_untold(value, arrays) for value in item]
    return item


def _made(kind: type, told: dict[str, Any]) -> Any:
    """Return a container of fields; those that it does not know are its `extra`."""
    known = {each.name for each in fields(kind)} - {"extra"}
    extra = {name: value for name, value in told.items() if name not in known}
    return kind(**{name: value for name, value in told.items() if name in known}, extra=extra)
