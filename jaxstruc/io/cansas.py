"""Reader of CanSAS1d XML files, whose root element is `<SASroot>`.

Each `<SASdata>` element is a curve, and its `<Idata>` elements are the points of the curve. A file with a document type
declaration (`<!DOCTYPE ...>`) is refused before the declaration is parsed. Such a declaration can define entities that
expand a small file to gigabytes.
"""

import hashlib
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from jaxstruc.io import points, q_axis
from jaxstruc.io.columns import CURVE_RULES, MIN_ROWS, ReadError, expect, parse_number, raw_bytes
from jaxstruc.io.measurement import Measurement
from jaxstruc.io.points import NO_SLIT_SMEARING, Columns, CurveFile, SourceFile

POINT_ELEMENTS = ("Q", "I", "Idev", "Qdev")
"""Names of the elements of a point: Q, I(Q), the standard error of I(Q), and the standard deviation of the resolution
in Q."""
SLIT_ELEMENTS = ("dQl", "dQw")
"""Names of the elements of a point that hold the widths of a slit. They are not zero if a slit smears the curve."""


def read(
    path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None, frame: int | None = None
) -> Measurement:
    """Read an I(Q) from a CanSAS1d XML file.

    Args:
        path: Path of the file.
        q_unit: Unit of the axis (1/Å, 1/nm or 2theta). It overrides the unit that the file states.
        wavelength: Wavelength in Å, needed if the axis is an angle.
        frame: Number of the curve, counted from 1, if the file holds several curves.

    Raises:
        ReadError: If the file is missing or is not CanSAS1d XML, if it holds several curves and no frame is given, or
            if the points of the curve cannot be used.
    """
    return open_file(path, q_unit=q_unit, wavelength=wavelength).read(frame)


def open_file(path: Path | str, *, q_unit: str | None = None, wavelength: float | None = None) -> CurveFile:
    """Return a file whose I(Q) can be read one by one. See `read` for the arguments and errors."""
    path = Path(path)
    raw = raw_bytes(path, CURVE_RULES)
    curve_elements = _find_curves(_document_root(raw, path))
    expect(len(curve_elements) > 0, f"a curve in <SASdata>, got none in {path}; export the file again")
    checksum = hashlib.sha256(raw).hexdigest()

    def read_index(index: int) -> Measurement:
        name, data = curve_elements[index]
        header: dict[str, float | str] = {"title": name} if name else {}
        source = SourceFile(str(path), "CanSAS1d", checksum, header)
        columns = _curve_columns(data, path)
        return points.measurement_from_columns(columns, source, q_unit=q_unit, wavelength=wavelength)

    return CurveFile(str(path), tuple(name for name, _ in curve_elements), read_index)


def _document_root(raw: bytes, path: Path) -> ElementTree.Element:
    """Return the root element of an XML document.

    Raises:
        ReadError: If the document is broken, has a document type declaration, or is not CanSAS1d XML.
    """
    try:
        _refuse_document_types(raw, path)
        root = ElementTree.fromstring(raw)
    except (expat.ExpatError, ElementTree.ParseError, LookupError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        reason = " ".join(str(error).split())[:100]
        raise ReadError(f"Expected CanSAS1d XML, got {path}, which is broken ({reason}); export it again.") from error
    name = _element_name(root)[:40]
    expect(
        name == "SASroot",
        f"CanSAS1d XML with the root <SASroot>, got <{name}> in {path}; export I(Q) as columns (.dat)",
    )
    return root


def _refuse_document_types(raw: bytes, path: Path) -> None:
    """Raise `ReadError` if an XML document has a document type declaration, before any entity is read."""

    def refuse(*_) -> None:
        raise ReadError(f"Expected XML without a document type, got one in {path}; remove its <!DOCTYPE ...>.")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(raw, True)


def _find_curves(root: ElementTree.Element) -> list[tuple[str, ElementTree.Element]]:
    """Return the title and the `<SASdata>` element of each curve.

    The title is that of the entry that holds the curve, or "" if it is missing or not printable.
    """
    curve_elements = []
    for entry in root:
        titles = [child.text or "" for child in entry if _element_name(child) == "Title"]
        title = " ".join(titles[0].split())[: points.MAX_TITLE_CHARACTERS] if titles else ""
        title = title if title.isprintable() else ""
        curve_elements += [(title, child) for child in entry if _element_name(child) == "SASdata"]
    return curve_elements


def _curve_columns(data: ElementTree.Element, path: Path) -> Columns:
    """Return the columns of the curve in a `<SASdata>` element."""
    rows = [{_element_name(element): element for element in row} for row in data if _element_name(row) == "Idata"]
    expect(
        len(rows) >= MIN_ROWS,
        f"at least {MIN_ROWS} points in <SASdata>, got {len(rows)} in {path}; check that it is a curve",
    )
    values: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for name in (*POINT_ELEMENTS, *SLIT_ELEMENTS):
        elements = [row[name] for row in rows if name in row]
        if not elements and name not in ("Q", "I"):
            continue
        problem = f"{len(elements)} of {len(rows)} in {path}"
        expect(len(elements) == len(rows), f"<{name}> at each point, got {problem}; export the file again")
        values[name] = np.array([_element_number(element, index, path) for index, element in enumerate(elements)])
        units[name] = _column_unit(elements, name, path)
    for name in SLIT_ELEMENTS:
        expect(
            not values.get(name, np.zeros(1)).any(),
            f"{NO_SLIT_SMEARING}, got a slit width (<{name}>) in {path}; desmear the curve first",
        )
    for name, quantity in (("Qdev", "Q"), ("Idev", "I")):
        points.refuse_other_unit(name, units.get(name, ""), quantity, units[quantity], path)
    point_labels = tuple(f"point {index + 1}" for index in range(len(rows)))
    return Columns(
        values["Q"], values["I"], values.get("Idev"), values.get("Qdev"), point_labels,
        axis_unit=q_axis.inverse_length(units["Q"]) or units["Q"].strip(), intensity_unit=units["I"],
    )  # fmt: skip


def _column_unit(elements: list[ElementTree.Element], name: str, path: Path) -> str:
    """Return the unit that all elements of a column state."""
    units = {element.get("unit", "") for element in elements}
    problem = " and ".join(sorted(unit[:20] or "none" for unit in units)[:3])
    expect(len(units) == 1, f"the same unit of {name} at all points, got {problem} in {path}; correct the file")
    return units.pop()


def _element_number(element: ElementTree.Element, index: int, path: Path) -> float:
    text = (element.text or "").strip()
    try:
        return parse_number(text)
    except ValueError:
        problem = f"{text[:20]!a} in <{_element_name(element)}> of point {index + 1} in {path}"
        raise ReadError(f"Expected a number, got {problem}; correct the file.") from None


def _element_name(element: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]
