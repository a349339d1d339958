"""Interpretation of the labels of columns in a text file. A label shows the role and the unit of its column.

The role states which quantity the column holds. The role of an axis is `q`, `r`, `2theta` or `x`. The role of a curve
is `iq`, `sq`, `fq` or `gr`, or a key of `REAL_SPACE_FUNCTIONS` for another function of r. The other roles are `sigma`
(the standard error of a curve), `dq` (the standard deviation of the resolution in Q), `slit` (a slit width), `dr` (the
error of r), and `other` (a quantity that is not a measured curve, e.g. a fit). An unknown role is "".
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxstruc.io import q_axis
from jaxstruc.io.columns import MAX_LINE_CHARACTERS
from jaxstruc.io.points import KIND_NAMES

ROLE_NAMES = {
    "q": "q qvec qvector svec scatteringvector momentumtransfer wavevector wavevectortransfer modq |q|",
    "r": "r distance radialdistance",
    "x": "x",
    "iq": "i iq y intensity counts count crosssection dσ/dω dsigma/domega dsdo absoluteintensity",
    "sq": "s sq structurefactor structurefunction sq-1 s-1",
    "fq": "f fq reducedstructurefunction reducedstructurefactor q[sq-1] qsq-1 q[s-1] qs-1 qiq",
    "gr": "g gr gofr pdf",
    "sigma": "sigma σ error errors err e di dy diq idev ierr ierror isigma sig sigi sigmai sigmaiq erri erriq errori "
    "esd std stdev stddev stddevi stddeviq uncertainty ds dsq df dfq dg dgr",
    "dq": "dq dx sigmaq sigq dsigq dsigx qdev qerr qerror qsigma qres qresolution resolution",
    "dr": "dr sigmar rerr",
    "slit": "dqw dql dxw dxl",
}
"""Names of columns for each role, in lower case, without spaces and without the characters <>._()$."""
REAL_SPACE_FUNCTIONS = {
    "G_k(r)": r"[Gg][_^]?\{?[Kk](een)?\}?(\(r\))?|Keen'?s?G(\(r\))?|h\(r\)|g\(r\)-1",
    "g(r)": r"g\(r\)",
    "D(r)": r"D(\(r\))?",
    "T(r)": r"T(\(r\))?",
    "RDF(r)": r"(?i:rdf)(\(r\))?|[RJ]\(r\)",
    "n(r)": r"[nN]\(r\)|(?i:cn)\(r\)",
    "another function of r": r"(?![Gg]((_|\d)\w*|obs|exp|meas)?\(r\))[A-Za-z]\w*\(r\)",
}
"""Regular expressions for labels (without spaces) of functions of r other than the reduced pair distribution function.

The definitions of G_k(r), g(r), D(r), T(r) and RDF(r) are those of D. A. Keen, J. Appl. Cryst. 34, 172 (2001), doi
10.1107/S0021889800019993. Keen writes G_k(r) as G(r). n(r) is the running coordination number.
"""
AMBIGUOUS_LABELS = ("sigma(q)", "err(q)", "error(q)")
"""Labels that may stand for the standard error of the curve or for the resolution in Q. Their columns are not read."""
MAX_LABEL_CHARACTERS = 80
"""Largest number of characters of a label."""
MAX_HEADER_LINES = 1000
"""Largest number of lines above the numbers in which labels are searched."""
MAX_NAME_CHARACTERS = 40
"""Largest number of characters of the name of a curve."""
AXES = ("q", "r", "2theta", "x")
"""Roles of an axis. An axis with the label x is Q or r."""

_ROLE_BY_NAME = {name: role for role, names in ROLE_NAMES.items() for name in names.split()}
_KIND_BY_SUFFIX = {".sq": "sq", ".fq": "fq", ".iq": "iq", ".gr": "gr", ".chi": "iq", ".xye": "iq", ".abs": "iq"}
_TAG = r"(?![A-Za-z])"
_SAMPLE = r"(_\w+|\d\w*)?\s*"
_TAGGED_CURVES = {
    "fq": rf"(?i:Q\s*[\[(]\s*S\s*(\(Q\))?\s*-\s*1\s*[\])]|F{_SAMPLE}\(Q\)){_TAG}|(?i:reduced structure f)",
    "sq": rf"(?i:S{_SAMPLE}\(Q\)){_TAG}|(?i:structure f)",
    "iq": rf"(?i:I{_SAMPLE}\(Q\)|I(_?(obs|exp|meas))?|(absolute |scatter(ed|ing) )?intensity|cross[ -]section){_TAG}",
    "gr": rf"[Gg]{_SAMPLE}\(r\){_TAG}|G(_?(obs|exp|meas)|r)?{_TAG}|(?i:(reduced )?pair distribution f|pdf{_TAG})",
}
"""Regular expressions for the beginnings of the labels of curves. The name of a sample may follow."""
_ERROR = re.compile(
    r"(?i)(?<![a-z])(err(or)?s?|sig(ma)?|std|stdev|stddev|dev(iation)?|uncertaint(y|ies)|unc|esd|s\.?d)(?![a-z])|[±σ]|"
    r"\+/?-|^(d|δ|delta|e)[ _]?([gisf]_?[rq]?(?![a-z])|[dt]\(r\))|^[gisf](err|sig|std|dev|esd)(?![a-z])"
)
_AXIS_WORDS = re.compile(
    r"(?i)(scattering|momentum|wave)[ _-]?(vector|transfer)( transfer)?[ ,]*\(?[qs]?\)?|q[ _-]?(vec(tor)?|mod\w*)"
)
_OF_AXIS = re.compile(r"(?i)(?<![a-z(])q(?![a-z)])|resolution|vector|momentum")
_OTHER = re.compile(
    r"(?i)(?<![a-z])[gisf]?_?(bgd?|bkgd?|backgr(ound)?|buffer|solvent|calc(ulated)?|fit(ted)?|model|diff(erence)?|"
    r"resid(ual)?s?|norm|weights?|mask|flag|npts|n_?pix(els)?|pixels?|counts?|index|shadow\w*|mean ?q|monitor|baseline)"
    r"(?![a-z])"
)
_UNIT_SYMBOLS = set(
    "barn barns b mb fm pm nm µm μm mm cm dm m km å inch ft mrad rad deg urad grad arcmin arcsec s ms min ev kev mev "
    "kg mg g mol hz w j bohr sr counts count cts photons ph n l ml".split()
)
"""Symbols of units. A text whose words are all in this set is a unit, even if the program cannot convert it."""
_UNIT_LINE = re.compile(
    r"(?i)(I|I\(Q\)|intensity|Q|Q[ _-]axis|axis of Q)[ _-]?units?\s*(?:[:=]|\bis\b|\s)\s*(\S.{0,40})"
)
_UNIT_SUFFIX = re.compile(r"(.+?)_((?:1/)?[^\s_]+?(?:\^?\{?[-⁻][1¹]\}?)?)")


class ColumnLabel(NamedTuple):
    """Label of a column."""

    role: str
    """Role of the column. The docstring of the module lists the roles."""
    name: str
    """Text of the label."""
    unit: str
    """Unit that the label states, or ""."""


class ColumnLabels(NamedTuple):
    """Labels of the columns of a file, label of the axis, and kind of the curve."""

    columns: tuple[ColumnLabel, ...]
    """Label of each column. The tuple is empty if the file does not label all columns."""
    axis: ColumnLabel | None
    """Label of the axis, or None if the file does not label it."""
    kind: str
    """Kind of the curve (gr, iq, sq or fq), or "" if the file states none."""

    @property
    def axis_unit(self) -> str:
        """Unit of the axis: a key of `q_axis.Q_UNITS` or `ANGLE_UNITS`, an unknown text, or ""."""
        return "" if self.axis is None else stated_axis_unit(self.axis)


class CurveColumns(NamedTuple):
    """Indices of the columns of a curve: its axis, its values, their standard error and the resolution in Q."""

    axis: int
    curve: int
    sigma: int | None = None
    dq: int | None = None


def describe_columns(header_lines: list[str], path: Path, outputtype: str = "", *, n_columns: int) -> ColumnLabels:
    """Return the labels of the columns and the kind of the curve that the header and the file name show.

    Args:
        header_lines: Lines above the numbers. If several lines hold labels, the last of them is used.
        path: Path of the file.
        outputtype: Value of the setting `outputtype` in the header, which PDF programs write, or "".
        n_columns: Number of columns.
    """
    labels: tuple[ColumnLabel, ...] = ()
    lone_axis: ColumnLabel | None = None
    stated_units: dict[str, str] = {}
    line_below = ""
    for line in header_lines[: -MAX_HEADER_LINES - 1 : -1]:
        if not line.strip("#!;/ \t") or len(line) > MAX_LINE_CHARACTERS:
            continue
        if match := _UNIT_LINE.fullmatch(_strip_comment(line)):
            stated_units.setdefault(match[1].lower()[0], match[2])
        elif axis_label := _lone_axis(line):
            lone_axis = lone_axis or axis_label
        elif not labels and (labels := _parse_labels(line, n_columns)):
            labels = _with_units(labels, _unit_row(line_below, n_columns))
        line_below = line
    labels = tuple(
        label._replace(unit=label.unit or stated_units.get({"q": "q", "iq": "i"}.get(label.role, ""), ""))
        for label in labels
    )
    axis = next((label for label in labels if label.role in AXES), lone_axis)
    curve_role = next((label.role for label in labels if label.role in (*KIND_NAMES, *REAL_SPACE_FUNCTIONS)), "")
    if axis is not None and axis.role == "r":
        curve_role = "gr"
    stated_kinds = (outputtype.lower(), curve_role, _KIND_BY_SUFFIX.get(path.suffix.lower(), ""))
    return ColumnLabels(labels, axis, next((kind for kind in stated_kinds if kind in KIND_NAMES), ""))


def _with_units(labels: tuple[ColumnLabel, ...], unit_row: list[str]) -> tuple[ColumnLabel, ...]:
    """Return labels with the units of the row of units below them, unless a label already states a unit."""
    if not unit_row or any(label.unit for label in labels):
        return labels
    return tuple(label._replace(unit=unit) for label, unit in zip(labels, unit_row, strict=True))


def _unit_row(line: str, n_columns: int) -> list[str]:
    """Return the units in a line that has a unit for each column, or an empty list. The text "-" becomes ""."""
    for texts in _split_labels(line, n_columns):
        row = [text.strip("()[] ") for text in texts]
        if any(map(_known_unit, row)) and all(text in ("-", "") or _resembles_unit(text) for text in row):
            return ["" if text == "-" else text for text in row]
    return []


def stated_axis_unit(label: ColumnLabel) -> str:
    """Return the unit of an axis of Q or 2theta: a key of `q_axis.Q_UNITS` or `ANGLE_UNITS`, an unknown text, or ""."""
    if label.role == "2theta" and label.unit:
        return q_axis.angle_unit("2theta", label.unit) or f"2theta in {label.unit}"
    return q_axis.inverse_length(label.unit) or label.unit


def assign_columns(labels: Sequence[ColumnLabel], roles: Sequence[str]) -> tuple[list[CurveColumns], list[str]]:
    """Return the columns of each curve, and the names of the columns that are not read.

    The axis of a curve is the last axis before the curve. `_columns_of` finds the standard error and the resolution of
    the curve. If the file has only one column of the resolution, this column applies to all curves.

    Args:
        labels: Label of each column.
        roles: Roles of the curves to return. If no column has such a role, the columns of unknown role are the curves.
    """
    all_roles = [label.role for label in labels]
    curve_indices = [index for index, role in enumerate(all_roles) if role in roles]
    curve_indices = curve_indices or [
        index for index, role in enumerate(all_roles) if not role and not _is_ambiguous(labels[index])
    ]
    axes = [index for index, role in enumerate(all_roles) if role in AXES]
    errors = {curve: _columns_of(curve, curve_indices, labels, "sigma") for curve in curve_indices}
    widths = {curve: _columns_of(curve, curve_indices, labels, "dq") for curve in curve_indices}
    shared_widths = [index for index, role in enumerate(all_roles) if role == "dq"]
    assigned = [
        CurveColumns(
            max((axis for axis in axes if axis < curve), default=axes[0]),
            curve,
            errors[curve],
            shared_widths[0] if len(shared_widths) == 1 else widths[curve],
        )
        for curve in curve_indices
    ]
    used = {index for columns in assigned for index in columns} | set(axes) | set(shared_widths)
    unread = [index for index, role in enumerate(all_roles) if index not in used and role not in ("dr", "slit")]
    return assigned, [text for index in unread if (text := printable_name(labels[index].name)[:20])]


def curve_names(labels: ColumnLabels, curve_columns: Sequence[CurveColumns]) -> tuple[str, ...]:
    """Return the name of each curve. The name is its label, or e.g. "column 2" (counted from 1) if it has no label."""
    names = [printable_name(labels.columns[curve.curve].name) if labels.columns else "" for curve in curve_columns]
    return tuple(name or f"column {curve.curve + 1}" for name, curve in zip(names, curve_columns, strict=True))


def printable_name(text: str) -> str:
    """Return a shortened name of a curve for messages and titles, or "" if it is not printable."""
    name = " ".join(text.split())[:MAX_NAME_CHARACTERS]
    return name if name.isprintable() else ""


def _columns_of(curve: int, curve_indices: list[int], labels: Sequence[ColumnLabel], role: str) -> int | None:
    """Return the index of the column with the standard error or the resolution of a curve, or None if there is none.

    The columns with `role` are the candidates. These rules are tried in order:

    1. The result is the first candidate whose label names the curve.
    2. If there are as many candidates as curves, and all candidates follow the last curve, they have the order of the
       curves.
    3. A single candidate belongs to no curve if there are several curves.
    4. The result is the first candidate between the curve and the next curve.
    5. If there is only one curve, the result is the first candidate.

    Args:
        curve: Index of the column of the curve.
        curve_indices: Indices of the columns of all curves.
        labels: Label of each column.
        role: Role of the candidates: `sigma` (standard error) or `dq` (resolution).
    """
    candidates = [index for index, label in enumerate(labels) if label.role == role]
    name = _core(labels[curve].name)
    namesakes = [index for index in candidates if _core(_without_error(labels[index].name)) == name]
    if namesakes:
        return namesakes[0]
    if len(candidates) == len(curve_indices) and min(candidates, default=0) > max(curve_indices):
        return candidates[curve_indices.index(curve)]
    next_curve = min((other for other in curve_indices if other > curve), default=len(labels))
    if len(candidates) == 1 and len(curve_indices) > 1:
        return None
    return next((index for index in candidates if curve < index < next_curve), _lone_column(candidates, curve_indices))


def _lone_column(candidates: list[int], curve_indices: list[int]) -> int | None:
    return candidates[0] if candidates and len(curve_indices) == 1 else None


def _core(name: str) -> str:
    """Return the letters and digits of a name in lower case, without its unit."""
    return re.sub(r"[\W_]", "", _split_unit(name)[0].lower())


def _without_error(name: str) -> str:
    """Return the label of a column of errors without the words that mark errors. The name of the curve remains."""
    return re.sub(r"(?i)^(d|δ|delta|e)(?=[ _]?[gisf])|^d[ _]?(?=\d)", "", _ERROR.sub("", name), count=1)


def _is_ambiguous(label: ColumnLabel) -> bool:
    return re.sub(r"\s", "", label.name.lower()) in AMBIGUOUS_LABELS


def _parse_labels(line: str, n_columns: int) -> tuple[ColumnLabel, ...]:
    """Return the label of each column from a line, or an empty tuple if the line does not label all columns."""
    for texts in _split_labels(line, n_columns):
        if max(map(len, texts)) > MAX_LABEL_CHARACTERS:
            continue
        axis_index = next((index for index, text in enumerate(texts) if _axis_label(text)), None)
        if axis_index is None:
            continue
        axis = _parse_label(texts[axis_index])
        labels = [_parse_label(text, over_r=axis.role in ("r", "x")) for text in texts]
        for index, label in enumerate(labels):
            if (
                index != axis_index
                and label.role in AXES
                and _core(label.name).rstrip("0123456789") != _core(axis.name)
            ):
                labels[index] = label._replace(role="")
        if axis_index == 0 or all(label.role for label in labels):
            return tuple(_mark_errors(labels))
    return ()


def _mark_errors(labels: list[ColumnLabel]) -> list[ColumnLabel]:
    """Return the labels, with the role `sigma` for each column of unknown role that is named after another column.

    The label of such a column is a mark of an error and the name of the other column. For example, d300K labels the
    errors of the curve 300K.
    """
    names = {_core(label.name) for label in labels if label.role not in AXES}
    names |= {_core(label.name)[1:] for label in labels if label.role in KIND_NAMES} - {""}
    pattern = re.compile(r"(?i)^(d|δ|delta|e|err(or)?|sig(ma)?|σ|s|std)[ _.-]?(?=[\w(])")
    return [
        label._replace(role="sigma")
        if not (label.role or _is_ambiguous(label))
        and (name := pattern.sub("", label.name, count=1)) != label.name
        and _core(name) in names
        else label
        for label in labels
    ]


def _lone_axis(line: str) -> ColumnLabel | None:
    """Return the label of an axis if a line holds only this label and its unit, otherwise None.

    FIT2D writes such lines.
    """
    text = _strip_comment(line)
    if len(text) > MAX_LABEL_CHARACTERS:
        return None
    label = _axis_label(text)
    return label if label is not None and label.unit else None


def _axis_label(text: str) -> ColumnLabel | None:
    label = _parse_label(text)
    return label if label.role in AXES else None


def _strip_comment(line: str) -> str:
    """Return a line without the marks of a comment and the words that introduce labels, e.g. "#L" or "columns:"."""
    return re.sub(
        r"(?i)^(L\s|The \d+ columns are\b|(columns?|labels?)\s*[:=])", "", line.strip().lstrip("#!;/ ").rstrip("|,; ")
    ).strip()


def _split_labels(line: str, n_columns: int) -> list[list[str]]:
    """Return the possible splits of a line into one label for each column."""
    text = _strip_comment(line)
    splits = []
    for separator in ("|", "\t", ";", ","):
        if separator in text:
            splits.append([part.strip(" \"'") for part in _split_outside_brackets(text, separator)])
    splits.append([part.strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", text)])
    splits.append([part.strip(" \"'") for part in re.split(r"\s{2,}|\t", text)])
    joined = re.sub(r"\s+in\s+(?=\S*\d)", "/", text)
    joined = re.sub(r"\s+(?=[(\[])|\s*/\s*(?=[\w(\[])", lambda match: "/" if "/" in match.group() else "", joined)
    joined = re.sub(r"\s+(?=(sr|ster)[-^⁻])", "·", joined)
    splits.append([part.strip("\"'") for part in _split_outside_brackets(joined, " ")])
    splits.append(re.split(r"(?<=[)\]])\s+", text))
    return [parts for parts in splits if len(parts) == n_columns and all(parts)]


def _split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split a text at each separator that is not inside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth = max(0, depth + (character in "([{") - (character in ")]}"))
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if separator == " ":
        parts = [part for part in parts if part]
    elif parts and not parts[0].strip() and separator == "|":
        parts = parts[1:]
    return parts


def _parse_label(text: str, *, over_r: bool = False) -> ColumnLabel:
    """Return the role, the name and the unit of a label."""
    if re.sub(r"\s", "", text.lower()) in AMBIGUOUS_LABELS:
        return ColumnLabel("", text, "")
    name, unit = _split_unit(text)
    if q_axis.is_angle(name):
        return ColumnLabel("2theta", text, unit)
    if over_r and not _ERROR.search(name) and (role := _function_of_r(name)):
        return ColumnLabel(role, text, unit)
    if role := _exact_role(text):
        return ColumnLabel(role, text, "")
    return ColumnLabel(_exact_role(name) or _role_by_words(name), text, unit)


def _exact_role(name: str) -> str:
    """Return the role of a name that `ROLE_NAMES` lists, or of a numbered axis such as q2, or ""."""
    if match := re.fullmatch(r"(?i)([qr])[ _]?\d+", name):
        return match[1].lower()
    return _ROLE_BY_NAME.get(re.sub(r"[\s<>._()$]", "", name.lower()), "")


def _function_of_r(name: str) -> str:
    """Return the key of `REAL_SPACE_FUNCTIONS` that a label stands for, or ""."""
    text = re.sub(r"[\s${}\\]", "", name)
    for function, pattern in REAL_SPACE_FUNCTIONS.items():
        if re.match(rf"({pattern})(?=$|[^\w(]|_)", text):
            return function
    return ""


def _role_by_words(name: str) -> str:
    """Return the role that the words of a name show, or ""."""
    if re.match(_TAGGED_CURVES["iq"], name) and "cross" in name.lower():
        return "iq"
    if _ERROR.search(name):
        return "dq" if _OF_AXIS.search(name) and not re.search(r"(?i)(?<![a-z])i(?![a-z])|intens", name) else "sigma"
    if _OTHER.search(name):
        return "other"
    if _AXIS_WORDS.fullmatch(name):
        return "q"
    return next((role for role, pattern in _TAGGED_CURVES.items() if re.match(pattern, name)), "")


def _split_unit(text: str) -> tuple[str, str]:
    """Return the name and the unit of a label.

    The unit is in brackets, or it follows a slash, a comma, the word "in" or an underscore.
    """
    text = text.strip()
    if text.endswith((")", "]")) and (start := _bracket_start(text)) > 0:
        inner = text[start + 1 : -1].strip()
        if inner.lower() not in ("q", "r", "x", "s") and _resembles_unit(inner):
            return text[:start].rstrip(" /,"), inner
    for match in re.finditer(r"\s*(?:/|,|\bin\b)\s*", text):
        name, unit = text[: match.start()], text[match.end() :]
        if name and name.count("(") == name.count(")") and _known_unit(unit):
            return name, unit
    suffix = _UNIT_SUFFIX.fullmatch(text)
    is_unit = suffix and (q_axis.inverse_length(suffix[2]) or suffix[2] in ("deg", "rad", "A", "nm"))
    if suffix and (is_unit or (re.search(r"1/|[-⁻][1¹]", suffix[2]) and q_axis.intensity_unit(suffix[2]))):
        return suffix[1], suffix[2]
    return text, ""


def _bracket_start(text: str) -> int:
    """Return the index of the bracket that the last character of a text closes, or -1."""
    depth = 0
    for index in range(len(text) - 1, -1, -1):
        depth += (text[index] in ")]}") - (text[index] in "([{")
        if depth == 0:
            return index
    return -1


def _known_unit(text: str) -> str:
    return (
        q_axis.inverse_length(text)
        or q_axis.intensity_unit(text)
        or q_axis.length_unit(text)
        or q_axis.angle_unit("2theta", text)
    )


def _resembles_unit(text: str) -> bool:
    """Return whether a text in brackets is a unit. Remarks such as 300 K, t=5 s or run-1 are not units."""
    if _known_unit(text):
        return True
    if re.match(r"\d[\d.]*\s*[^\W\d]|.*[=:#]", text):
        return False
    if re.search(r"\^\{?\(?[-−]?\d|[²³⁻]|1\s*/\s*[^\W\d]", text):
        return True
    symbols = re.findall(r"[^\W\d]+", text.lower())
    return bool(symbols) and all(symbol in _UNIT_SYMBOLS for symbol in symbols)
