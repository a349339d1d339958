"""Reader of NXcanSAS, HDF5: one curve, or many, as frames of one signal or as entries of one file.

Nothing outside the file is opened: links and data that lie in other files are refused. Only what is asked for is read.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from jaxstruc.data import apart, axis, hdf5, points
from jaxstruc.data.measurement import Measurement, Setting
from jaxstruc.data.points import SLITS, Columns
from jaxstruc.data.text import LINES, ROWS, ReadError, expect

MOST = 100_000
"""Curves of a file, and groups of a group."""
DEPTH = 3
"""Groups from the file to a curve: entry, subentry, data."""


class Curve(NamedTuple):
    """Where a curve lies in a file."""

    group: h5py.Group
    """SASdata."""
    place: tuple[int, ...]
    """Of the frame in the signal, without the axis of Q."""

    @property
    def name(self) -> str:
        """For refusals and tables: the group's path, and the frame."""
        frame = "".join(f"[{number}]" for number in self.place)
        return f"{self.group.name.strip('/')}{frame}"


class Found(NamedTuple):
    """Curves of a file, read."""

    names: list[str]
    places: list[int]
    """Among all of the file."""
    columns: list[Columns | ReadError]
    several: int
    """Curves of the file."""
    sha256: str


def read(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None, frame: int | None = None
) -> Measurement:
    """Return a measured I(Q).

    Args:
        path: of the file.
        q_unit: 1/Å, 1/nm or 2theta, where the file does not say it.
        wavelength: of an angle, in Å.
        frame: which curve, counted from 1, where the file has several: the frames of an entry, then the next entry.

    Raises:
        ReadError: where the file is missing, no NXcanSAS, holds several curves, or its points are not what they must
            be.
    """
    found = _found(apart.call(curves, Path(path), frame))
    return _measurement(found, 0, str(path), q_unit=q_unit, wavelength=wavelength)


def read_all(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None
) -> list[Measurement | ReadError]:
    """Return each curve of a file, or why it cannot be used, in the order in which `frame` counts them.

    Raises:
        ReadError: where the file as a whole cannot be used.
    """
    found = _found(apart.call(curves, Path(path), None, True))
    made: list[Measurement | ReadError] = []
    for place in range(len(found.columns)):
        try:
            made.append(_measurement(found, place, str(path), q_unit=q_unit, wavelength=wavelength))
        except ReadError as error:
            made.append(error)
    return made


def curves(path: Path | str, frame: int | None, every: bool = False) -> Found:
    """Return the columns of the curve that is asked for, or of every one, which may be a refusal.

    Raises:
        ReadError: where the file, or the one curve, cannot be used.
    """
    path = Path(path)
    with hdf5.opened(path) as (file, checksum):
        there = _curves(file, path)
        if not every:
            place = points.chosen_frame(frame, len(there), lambda number: there[number].name, path)
            return Found([there[place].name], [place], [_columns(there[place], path)], len(there), checksum)
        found: list[Columns | ReadError] = []
        for curve in there:
            try:
                found.append(_columns(curve, path))
            except ReadError as error:
                found.append(error)
        return Found([curve.name for curve in there], list(range(len(there))), found, len(there), checksum)


def _found(told: list) -> Found:
    """Return what `curves` found, of the lists that came back from the other process."""
    found = Found(*told)
    return found._replace(columns=[one if isinstance(one, ReadError) else Columns(*one) for one in found.columns])


def _measurement(found: Found, place: int, path: str, *, q_unit: str | None, wavelength: float | None) -> Measurement:
    """Return the measurement of columns; its place among several curves is one of its settings."""
    columns = found.columns[place]
    if isinstance(columns, ReadError):
        raise columns
    made = points.measured(
        columns, path=path, q_unit=q_unit, wavelength=wavelength, header={"title": found.names[place][: points.TITLE]},
        form="NXcanSAS", sha256=found.sha256,
    )  # fmt: skip
    more = () if found.several == 1 else (Setting("frame", found.places[place] + 1.0, "command line"),)
    return made._replace(settings=(*made.settings, *more))


def _curves(file: h5py.File, path: Path) -> list[Curve]:
    """Return the curves of a file.

    Raises:
        ReadError: where there are none, or too many.
    """
    groups = list(_groups(file, DEPTH, set()))
    expect(len(groups) > 0, f"NXcanSAS, got HDF5 without SASdata in {path}; export I(Q) as NXcanSAS or columns (.dat)")
    flat = [group for group in groups if not _on_plane(group)]
    expect(len(flat) > 0, f"I(Q), got I over two axes of Q in {path}; average it over directions")
    found: list[Curve] = []
    for group in flat:
        try:
            shape = _frames(group, path)
        except ReadError:
            shape = ()  # told where this curve is read
        count = math.prod(shape)
        expect(len(found) + count <= MOST, f"at most {MOST} curves, got more in {path}; split it")
        found += [Curve(group, place) for place in np.ndindex(*shape)]
    expect(len(found) > 0, f"a curve, got none in {path}; export it again")
    return found


def _groups(group: h5py.Group, depth: int, seen: set[h5py.Group]) -> Iterator[h5py.Group]:
    """Yield the SASdata below a group, each once however many links lead to it."""
    expect(len(group) <= MOST, f"at most {MOST} parts, got more in {group.name[:40]!a}; split the file")
    for name in group:
        child = hdf5.inside(group, name)
        if not isinstance(child, h5py.Group) or child in seen:
            continue
        seen.add(child)
        if "SASdata" in (hdf5.text(child, "canSAS_class"), hdf5.text(child, "NX_class")):
            yield child
        elif depth > 1:
            yield from _groups(child, depth - 1, seen)


def _dataset(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    """Return the numbers of a name in a group.

    Raises:
        ReadError: where they are missing or no numbers.
    """
    found = hdf5.inside(group, name)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu":
        raise ReadError(f"Expected numbers {name[:20]!a} in SASdata, got none in {path}; export it again.")
    return found


def _axes(group: h5py.Group) -> list[str]:
    """Return the names of the signal's axes."""
    return hdf5.words(group, "I_axes") or ["Q"]


def _on_plane(group: h5py.Group) -> bool:
    """Return whether a signal has two axes of Q."""
    return sum(name.startswith("Q") for name in _axes(group)) > 1


def _q_axis(group: h5py.Group, path: Path) -> int:
    """Return which axis of the signal is Q."""
    signal, q = _dataset(group, "I", path), _dataset(group, "Q", path)
    size = q.shape[-1] if q.shape else 0
    names, sizes = _axes(group), signal.shape
    told = [place for place, name in enumerate(names) if name == "Q" and len(names) == len(sizes)]
    fits = [place for place in told or range(len(sizes)) if sizes[place] == size]
    expect(len(fits) > 0, f"as many I as Q, got shapes {sizes} and {q.shape} in {path}; export it again")
    return fits[-1]


def _frames(group: h5py.Group, path: Path) -> tuple[int, ...]:
    """Return the shape of a signal without the axis of Q."""
    place, sizes = _q_axis(group, path), _dataset(group, "I", path).shape
    return sizes[:place] + sizes[place + 1 :]


def _columns(curve: Curve, path: Path) -> Columns:
    """Return the columns of a curve."""
    group, axis_of_q = curve.group, _q_axis(curve.group, path)
    signal, q = _dataset(group, "I", path), _dataset(group, "Q", path)
    count = signal.shape[axis_of_q]
    expect(ROWS <= count <= LINES, f"{ROWS} to {LINES} points, got {count} in {path}; check that it is a curve")
    at: tuple[int | slice, ...] = (*curve.place[:axis_of_q], slice(None), *curve.place[axis_of_q:])

    def column(name: str) -> np.ndarray:
        data = _dataset(group, name, path)
        where = at if data.shape == signal.shape else (slice(None),)
        expect(
            len(data.shape) == len(where), f"{name[:20]!a} of the shape of I or Q, got {data.shape} in {path}; mend it"
        )
        found = hdf5.numbers(data, where, path)
        expect(found.shape == (count,), f"{count} {name[:20]!a}, got {found.shape} in {path}; export it again")
        return found

    errors, widths = _errors(group, signal), _widths(group, q)
    for name in widths if len(widths) > 1 else [name for name in widths if name.lower() in ("dqw", "dql")]:
        expect(not (column(name) != 0).any(), f"{SLITS}, got slit widths in {path}; desmear it first")
        widths = []
    units = {name: hdf5.text(data, "units", "unit") for name, data in (("Q", q), ("I", signal))}
    for name, of in ((errors, "I"), (widths[0] if widths else "", "Q")):
        data = hdf5.inside(group, name) if name else None
        own = "" if data is None else hdf5.text(data, "units", "unit")
        points.refuse_other_unit(name[:20], own, of, units[of], path)
    return Columns(
        column("Q"), column("I"), column(errors) if errors else None, column(widths[0]) if widths else None,
        unit=axis.inverse_length(units["Q"]), units=units["I"],
    )  # fmt: skip


def _errors(group: h5py.Group, signal: h5py.Dataset) -> str:
    """Return the name of the signal's standard errors, "" where it has none."""
    told = hdf5.text(signal, "uncertainties", "uncertainty") or hdf5.text(group, "I_uncertainties", "I_uncertainty")
    return told or ("Idev" if "Idev" in group else "")


def _widths(group: h5py.Group, q: h5py.Dataset) -> list[str]:
    """Return the names of the widths of the resolution; two are those of a slit."""
    told = hdf5.words(q, "resolutions", "resolution", "uncertainties", "uncertainty")
    told = told or hdf5.words(group, "Q_uncertainties")
    return told or [name for name in ("dQw", "dQl", "Qdev") if name in group]
