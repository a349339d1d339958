"""Reader of NXcanSAS files, which are HDF5 files.

A group of the class `SASdata` holds a signal array with the values of I(Q). The array may have other axes besides Q,
e.g. time. A frame is the curve at one index along each of these axes. A file may have several such groups. Links to
other files are not followed.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from jaxstruc.io import isolated_process, points, q_axis
from jaxstruc.io.columns import MAX_LINES, MIN_ROWS, ReadError, expect
from jaxstruc.io.measurement import Measurement, Setting
from jaxstruc.io.points import NO_SLIT_SMEARING, Columns, SourceFile

MAX_CURVES = 100_000
"""Largest number of curves of a file, and of members of a group."""
MAX_LOADED_BYTES = 2**28
"""Largest size in bytes of a dataset that is read as a whole if all its frames are needed."""
MAX_GROUP_DEPTH = 3
"""Largest number of groups from the root to a curve: entry, subentry and data."""


class NexusCurve(NamedTuple):
    """Position of a curve in a file."""

    group: h5py.Group
    """Group of the class `SASdata`."""
    frame_index: tuple[int, ...]
    """Index of the frame along each axis of the signal array other than Q."""

    @property
    def name(self) -> str:
        """Path of the group and index of the frame, e.g. entry/data[0]."""
        frame = "".join(f"[{number}]" for number in self.frame_index)
        return f"{self.group.name.strip('/')}{frame}"


class GroupReader(NamedTuple):
    """Names, units and numbers of the columns of a `SASdata` group."""

    group: h5py.Group
    names: list[str]
    """Names of the datasets of Q, I, the standard error of I and the resolution in Q, or "" for a missing dataset."""
    slit_names: list[str]
    """Names of the datasets of slit widths. The list is empty if there are none."""
    signal_shape: tuple[int, ...]
    """Shape of the signal array."""
    q_axis_index: int
    """Index of the axis of the signal array that is Q."""
    axis_unit: str
    intensity_unit: str
    arrays: dict[str, np.ndarray]
    """Numbers of the datasets that were read as a whole, by name. Other datasets are read frame by frame."""


class FileCurves(NamedTuple):
    """Curves that were read from a file."""

    names: list[str]
    """Name of each curve, see `NexusCurve.name`."""
    curve_indices: list[int]
    """Index of each curve among all curves of the file, counted from 0."""
    columns: list[Columns | ReadError]
    """Columns of each curve, or the error if the curve cannot be used."""
    n_curves: int
    """Number of all curves of the file."""
    sha256: str
    """Checksum of the content of the file."""


def read(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None, frame: int | None = None
) -> Measurement:
    """Read an I(Q) from an NXcanSAS file.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis (1/Å, 1/nm or 2theta). It overrides the unit that the file states.
        wavelength: Wavelength in Å, needed if the axis is an angle.
        frame: Number of the curve, counted from 1, if the file holds several curves. All frames of a `SASdata` group
            are counted before those of the next group.

    Raises:
        ReadError: If the file is missing or is not NXcanSAS, if it holds several curves and no frame is given, or if
            the points of the curve cannot be used.
    """
    file_curves = _restore_curves(isolated_process.call(read_curves, Path(path), frame))
    return _curve_measurement(file_curves, 0, str(path), q_unit=q_unit, wavelength=wavelength)


def read_all(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None
) -> list[Measurement | ReadError]:
    """Read all curves of a file in the order of their numbers. See `read` for the arguments.

    Returns:
        Measurement of each curve, or the error if the curve cannot be used.

    Raises:
        ReadError: If the file as a whole cannot be used.
    """
    file_curves = _restore_curves(isolated_process.call(read_curves, Path(path), None, True))
    measurements: list[Measurement | ReadError] = []
    for index in range(len(file_curves.columns)):
        try:
            measurements.append(_curve_measurement(file_curves, index, str(path), q_unit=q_unit, wavelength=wavelength))
        except ReadError as error:
            measurements.append(error)
    return measurements


def count_curves(path: Path | str) -> int:
    """Return the number of curves of a file.

    Raises:
        ReadError: If the file as a whole cannot be used.
    """
    return isolated_process.call(count_file_curves, Path(path))


def count_file_curves(path: Path | str) -> int:
    """Return the number of curves of a file. The reading process runs this function."""
    path = Path(path)
    with isolated_process.open_hdf5(path) as (file, _):
        return len(_find_curves(file, path))


def read_curves(path: Path | str, frame: int | None, all_curves: bool = False) -> FileCurves:
    """Return the columns of one curve or of all curves of a file. The reading process runs this function.

    Args:
        path: Path of the file.
        frame: Number of the curve, counted from 1. None if the file holds only one curve.
        all_curves: Whether all curves are read. Curves that cannot be used then have an error in place of columns.

    Raises:
        ReadError: If the file, or the one curve, cannot be used.
    """
    path = Path(path)
    with isolated_process.open_hdf5(path) as (file, checksum):
        nexus_curves = _find_curves(file, path)
        indices = list(range(len(nexus_curves)))
        if not all_curves:
            indices = [points.frame_index(frame, len(nexus_curves), lambda index: nexus_curves[index].name, path)]
        curve_columns: list[Columns | ReadError] = []
        readers: dict[h5py.Group, GroupReader] = {}
        for curve in (nexus_curves[index] for index in indices):
            try:
                if curve.group not in readers:
                    readers = {curve.group: _describe_group(curve.group, path, loads_all=all_curves)}
                curve_columns.append(_curve_columns(readers[curve.group], curve.frame_index, path))
            except ReadError as error:
                if not all_curves:
                    raise
                curve_columns.append(error)
        names = [nexus_curves[index].name for index in indices]
        return FileCurves(names, indices, curve_columns, len(nexus_curves), checksum)


def _restore_curves(answer: list) -> FileCurves:
    """Return the curves of a file from the lists that the reading process (`isolated_process`) returned."""
    file_curves = FileCurves(*answer)
    return file_curves._replace(
        columns=[values if isinstance(values, ReadError) else Columns(*values) for values in file_curves.columns]
    )


def _curve_measurement(
    file_curves: FileCurves, index: int, path: str, *, q_unit: str | None, wavelength: float | None
) -> Measurement:
    """Return the measurement of a curve, with the number of the curve as setting `frame` if there are several."""
    columns = file_curves.columns[index]
    if isinstance(columns, ReadError):
        raise columns
    title = file_curves.names[index][: points.MAX_TITLE_CHARACTERS]
    source = SourceFile(path, "NXcanSAS", file_curves.sha256, {"title": title})
    measurement = points.measurement_from_columns(columns, source, q_unit=q_unit, wavelength=wavelength)
    frame_setting = (
        () if file_curves.n_curves == 1 else (Setting("frame", file_curves.curve_indices[index] + 1.0, "command line"),)
    )
    return measurement._replace(settings=(*measurement.settings, *frame_setting))


def _find_curves(file: h5py.File, path: Path) -> list[NexusCurve]:
    """Return the positions of all curves of a file.

    Raises:
        ReadError: If there are no curves, or too many.
    """
    groups = list(_data_groups(file, MAX_GROUP_DEPTH, set()))
    expect(
        len(groups) > 0,
        f"NXcanSAS, got HDF5 without a SASdata group in {path}; export I(Q) as NXcanSAS or columns (.dat)",
    )
    one_axis_groups = [group for group in groups if not _is_two_dimensional(group)]
    expect(len(one_axis_groups) > 0, f"I(Q), got I over two axes of Q in {path}; average I over the directions of Q")
    nexus_curves: list[NexusCurve] = []
    for group in one_axis_groups:
        try:
            frame_shape = _frame_shape(group, path)
        except ReadError:
            frame_shape = ()  # the same error is raised when this curve is read
        n_frames = math.prod(frame_shape)
        expect(
            len(nexus_curves) + n_frames <= MAX_CURVES,
            f"at most {MAX_CURVES} curves, got more in {path}; split the file",
        )
        nexus_curves += [NexusCurve(group, frame_index) for frame_index in np.ndindex(*frame_shape)]
    expect(len(nexus_curves) > 0, f"a curve, got none in {path}; export it again")
    return nexus_curves


def _data_groups(group: h5py.Group, depth: int, visited_groups: set[h5py.Group]) -> Iterator[h5py.Group]:
    """Yield each group of the class `SASdata` below a group once, even if several links lead to it."""
    expect(len(group) <= MAX_CURVES, f"at most {MAX_CURVES} members, got more in {group.name[:40]!a}; split the file")
    for name in group:
        child = isolated_process.get_member(group, name)
        if not isinstance(child, h5py.Group) or child in visited_groups:
            continue
        visited_groups.add(child)
        if "SASdata" in (
            isolated_process.attribute_text(child, "canSAS_class"),
            isolated_process.attribute_text(child, "NX_class"),
        ):
            yield child
        elif depth > 1:
            yield from _data_groups(child, depth - 1, visited_groups)


def _numeric_dataset(group: h5py.Group, name: str, path: Path) -> h5py.Dataset:
    """Return a dataset of numbers of a group.

    Raises:
        ReadError: If the dataset is missing or does not hold numbers.
    """
    dataset = isolated_process.get_member(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "fiu":
        raise ReadError(f"Expected a dataset {name[:20]!a} of numbers in SASdata, got none in {path}; export it again.")
    return dataset


def _axis_names(group: h5py.Group) -> list[str]:
    """Return the names of the axes of the signal array."""
    return isolated_process.attribute_parts(group, "I_axes") or ["Q"]


def _is_two_dimensional(group: h5py.Group) -> bool:
    """Return whether the signal array has two axes of Q."""
    return sum(name.startswith("Q") for name in _axis_names(group)) > 1


def _q_axis_index(group: h5py.Group, path: Path) -> int:
    """Return the index of the axis of the signal array that is Q."""
    signal, q = _numeric_dataset(group, "I", path), _numeric_dataset(group, "Q", path)
    n_q = q.shape[-1] if q.shape else 0
    names, sizes = _axis_names(group), signal.shape
    q_axes = [index for index, name in enumerate(names) if name == "Q" and len(names) == len(sizes)]
    matching_axes = [index for index in q_axes or range(len(sizes)) if sizes[index] == n_q]
    expect(len(matching_axes) > 0, f"as many I as Q, got shapes {sizes} and {q.shape} in {path}; export the file again")
    return matching_axes[-1]


def _frame_shape(group: h5py.Group, path: Path) -> tuple[int, ...]:
    """Return the shape of the signal array without the axis of Q."""
    q_axis_index, signal_shape = _q_axis_index(group, path), _numeric_dataset(group, "I", path).shape
    return signal_shape[:q_axis_index] + signal_shape[q_axis_index + 1 :]


def _describe_group(group: h5py.Group, path: Path, *, loads_all: bool) -> GroupReader:
    """Return the names and units of the columns of a group, and their numbers if all curves are to be read.

    Raises:
        ReadError: If the group holds no curves, or if Q and its resolution, or I and its error, have different units.
    """
    q_axis_index = _q_axis_index(group, path)
    signal, q = _numeric_dataset(group, "I", path), _numeric_dataset(group, "Q", path)
    n_points = signal.shape[q_axis_index]
    expect(
        MIN_ROWS <= n_points <= MAX_LINES,
        f"{MIN_ROWS} to {MAX_LINES} points, got {n_points} in {path}; check that the file holds a curve",
    )
    errors, widths = _error_name(group, signal), _width_names(group, q)
    slit_widths = widths if len(widths) > 1 else [name for name in widths if name.lower() in ("dqw", "dql")]
    names = ["Q", "I", errors, "" if slit_widths or not widths else widths[0]]
    units = {name: isolated_process.attribute_text(data, "units", "unit") for name, data in (("Q", q), ("I", signal))}
    for name, quantity in ((names[2], "I"), (names[3], "Q")):
        data = isolated_process.get_member(group, name) if name else None
        column_unit = "" if data is None else isolated_process.attribute_text(data, "units", "unit")
        points.refuse_other_unit(name[:20], column_unit, quantity, units[quantity], path)
    axis_unit = q_axis.inverse_length(units["Q"]) or units["Q"].strip()
    reader = GroupReader(group, names, slit_widths, signal.shape, q_axis_index, axis_unit, units["I"], {})
    for name in filter(None, {*names, *slit_widths}) if loads_all else ():
        data = _numeric_dataset(group, name, path)
        if math.prod(data.shape) * 8 <= MAX_LOADED_BYTES:
            whole_selection = (slice(None),) * len(data.shape)
            reader.arrays[name] = isolated_process.read_numbers(data, whole_selection, path)
    return reader


def _curve_columns(reader: GroupReader, frame_index: tuple[int, ...], path: Path) -> Columns:
    """Return the columns of the curve at `frame_index` in the signal array."""
    n_points = reader.signal_shape[reader.q_axis_index]
    frame_selection: tuple[int | slice, ...] = (
        *frame_index[: reader.q_axis_index],
        slice(None),
        *frame_index[reader.q_axis_index :],
    )

    def read_column(name: str) -> np.ndarray:
        source: np.ndarray | h5py.Dataset = (
            reader.arrays[name] if name in reader.arrays else _numeric_dataset(reader.group, name, path)
        )
        selection = frame_selection if source.shape == reader.signal_shape else (slice(None),)
        expect(
            len(source.shape) == len(selection),
            f"{name[:20]!a} of the shape of I or Q, got {source.shape} in {path}; correct the file",
        )
        if isinstance(source, np.ndarray):
            values = source[selection]
        else:
            values = isolated_process.read_numbers(source, selection, path)
        expect(
            values.shape == (n_points,),
            f"{n_points} values of {name[:20]!a}, got the shape {values.shape} in {path}; export the file again",
        )
        return values

    for name in reader.slit_names:
        has_slit = (read_column(name) != 0).any()
        expect(not has_slit, f"{NO_SLIT_SMEARING}, got slit widths in {path}; desmear the curve first")
    q_name, signal_name, *other_names = reader.names
    sigma, width = (read_column(name) if name else None for name in other_names)
    return Columns(
        read_column(q_name), read_column(signal_name), sigma, width,
        axis_unit=reader.axis_unit, intensity_unit=reader.intensity_unit,
    )  # fmt: skip


def _error_name(group: h5py.Group, signal: h5py.Dataset) -> str:
    """Return the name of the dataset with the standard errors of I(Q), or "" if there is none."""
    name = isolated_process.attribute_text(signal, "uncertainties", "uncertainty") or isolated_process.attribute_text(
        group, "I_uncertainties", "I_uncertainty"
    )
    return name or ("Idev" if "Idev" in group else "")


def _width_names(group: h5py.Group, q: h5py.Dataset) -> list[str]:
    """Return the names of the datasets with the resolution in Q. Two names are those of the widths of a slit."""
    names = isolated_process.attribute_parts(q, "resolutions", "resolution", "uncertainties", "uncertainty")
    names = names or isolated_process.attribute_parts(group, "Q_uncertainties")
    return names or [name for name in ("dQw", "dQl", "Qdev") if name in group]
