"""Reader of CanSAS1d XML: `<SASroot>` with a curve of `<Idata>` in each `<SASdata>`.

A document type is refused before anything of it is expanded: entities are how a small file becomes a large one.
"""

import hashlib
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from jaxstruc.data import axis, points
from jaxstruc.data.measurement import Measurement
from jaxstruc.data.points import SLITS, Columns
from jaxstruc.data.text import CURVE, ROWS, ReadError, expect, number, raw_bytes

COLUMNS = ("Q", "I", "Idev", "Qdev")
"""Elements of a point."""
SLIT = ("dQl", "dQw")
"""Widths of slits."""


def read(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None, frame: int | None = None
) -> Measurement:
    """Return a measured I(Q).

    Args:
        path: of the file.
        q_unit: 1/Å, 1/nm or 2theta, where the file does not say it.
        wavelength: of an angle, in Å.
        frame: which curve, counted from 1, where the file has several.

    Raises:
        ReadError: where the file is missing, no CanSAS1d, or its points are not what they must be.
    """
    path = Path(path)
    raw = raw_bytes(path, CURVE)
    curves = _curves(_root(raw, path))
    expect(len(curves) > 0, f"a curve in <SASdata>, got none in {path}; export it again")
    name, data = curves[points.chosen_frame(frame, len(curves), lambda place: curves[place][0], path)]
    columns = _columns(data, path)
    return points.measured(
        columns, path=str(path), q_unit=q_unit, wavelength=wavelength, header={"title": name} if name else {},
        form="CanSAS1d", sha256=hashlib.sha256(raw).hexdigest(),
    )  # fmt: skip


def _root(raw: bytes, path: Path) -> ElementTree.Element:
    """Return the root of the document.

    Raises:
        ReadError: where it is broken, has a document type, or is no CanSAS1d.
    """
    try:
        _refuse_types(raw, path)
        root = ElementTree.fromstring(raw)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        said = " ".join(str(error).split())[:100]
        raise ReadError(f"Expected CanSAS1d XML, got {path}, which is broken ({said}); export it again.") from error
    name = _name(root)[:40]
    expect(name == "SASroot", f"CanSAS1d XML, <SASroot>, got <{name}> in {path}; export I(Q) as columns (.dat)")
    return root


def _refuse_types(raw: bytes, path: Path) -> None:
    """Refuse a document type, which may define entities, at its start."""

    def refuse(*_) -> None:
        raise ReadError(f"Expected XML without a document type, got one in {path}; remove its <!DOCTYPE ...>.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(raw, True)


def _curves(root: ElementTree.Element) -> list[tuple[str, ElementTree.Element]]:
    """Return each curve with its entry's title."""
    found = []
    for entry in root:
        titles = [one.text or "" for one in entry if _name(one) == "Title"]
        title = " ".join(titles[0].split())[: points.TITLE] if titles else ""
        title = title if title.isprintable() else ""
        found += [(title, one) for one in entry if _name(one) == "SASdata"]
    return found


def _columns(data: ElementTree.Element, path: Path) -> Columns:
    """Return the columns of a curve."""
    rows = [{_name(one): one for one in row} for row in data if _name(row) == "Idata"]
    expect(
        len(rows) >= ROWS, f"at least {ROWS} points in <SASdata>, got {len(rows)} in {path}; check that it is a curve"
    )
    found: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for name in (*COLUMNS, *SLIT):
        present = [row[name] for row in rows if name in row]
        if not present and name not in ("Q", "I"):
            continue
        got = f"{len(present)} of {len(rows)} in {path}"
        expect(len(present) == len(rows), f"<{name}> at each point, got {got}; export it again")
        found[name] = np.array([_number(one, place, path) for place, one in enumerate(present)])
        units[name] = _unit(present, name, path)
    for name in SLIT:
        expect(
            not found.get(name, np.zeros(1)).any(),
            f"{SLITS}, got <{name}>, a slit's width, in {path}; desmear it first",
        )
    for name, other in (("Qdev", "Q"), ("Idev", "I")):
        points.refuse_other_unit(name, units.get(name, ""), other, units[other], path)
    places = tuple(f"point {place + 1}" for place in range(len(rows)))
    return Columns(
        found["Q"], found["I"], found.get("Idev"), found.get("Qdev"), places,
        unit=axis.inverse_length(units["Q"]), units=units["I"],
    )  # fmt: skip


def _unit(elements: list[ElementTree.Element], name: str, path: Path) -> str:
    """Return the unit of a column."""
    units = {one.get("unit", "") for one in elements}
    got = " and ".join(sorted(unit[:20] or "none" for unit in units)[:3])
    expect(len(units) == 1, f"one unit of {name}, got {got} in {path}; mend the file")
    return units.pop()


def _number(element: ElementTree.Element, place: int, path: Path) -> float:
    text = (element.text or "").strip()
    try:
        return number(text)
    except ValueError:
        got = f"{text[:20]!a} in <{_name(element)}> of point {place + 1} in {path}"
        raise ReadError(f"Expected a number, got {got}; mend the file.") from None


def _name(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]
