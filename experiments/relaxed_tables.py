"""Tables of the experiment on particles that are relaxed with a potential."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from table_cells import Rows, group_rows, markdown_table, number, percent

PART_TITLES = {
    "listed": "in the library",
    "unlisted": "not in the library, absolute scale",
    "half": "in the library, half relaxed",
    "dynamics": "in the library, at 300 K",
}
"""Description of each part of `relaxed_particles.py` with single particles."""
COMMANDS = ("mine", "solve", "classify")
MAX_AMPLITUDE_ERROR, MAX_MEAN_ERROR, MAX_WIDTH_ERROR = 0.1, 0.03, 0.15
"""Largest error of the amplitude of relaxation, and largest relative errors of the mean size and of the width, that
are right."""


class Target(NamedTuple):
    """A measure of the answers with its target."""

    measure: str
    part: str
    commands: tuple[str, ...]
    value: Callable[[Rows], str]
    """Function that makes the cell of the measure from rows."""
    target: str


def _selected_rows(rows: Rows, part: str, command: str) -> Rows:
    return [row for row in rows if row["part"] == part and row["command"] == command]


# ---- measures


def type_right(rows: Rows) -> str:
    """Return the share of answers with the right type."""
    return percent([row["found_type"] == row["type"] for row in rows])


def atoms_exact(rows: Rows) -> str:
    """Return the share of answers with the right number of atoms."""
    return percent([row["found_atoms"] == row["atoms"] for row in rows if "found_atoms" in row])


def atoms_error(rows: Rows) -> str:
    """Return the median relative error of the number of atoms in per cent."""
    errors = [abs(row["found_atoms"] / row["atoms"] - 1) for row in rows if "found_atoms" in row]
    return f"{100 * np.median(errors):.2g} %" if errors else "–"


def atoms_covered(rows: Rows) -> str:
    """Return the share of intervals that contain the number of atoms."""
    return percent([row["n_low"] <= row["atoms"] <= row["n_high"] for row in rows if "n_low" in row])


def misfit_ratio(rows: Rows) -> str:
    """Return the median ratio of the Rw of the best structure and that of the noise."""
    return _median([row["rw"] / row["noise_rw"] for row in rows if "rw" in row])


def median_distance_error(rows: Rows) -> str:
    """Return the median W1 in Å."""
    return _median([row["w1"] for row in rows if "w1" in row])


def amplitude_right(rows: Rows) -> str:
    """Return the share of amplitudes of relaxation that are right."""
    errors = [abs(row["relaxation"] - row["amplitude"]) for row in rows if "relaxation" in row]
    return percent([error <= MAX_AMPLITUDE_ERROR for error in errors])


def amplitude_covered(rows: Rows) -> str:
    """Return the share of intervals that contain the amplitude of relaxation."""
    amplitude_rows = [row for row in rows if "relaxation" in row]
    return percent([row["relaxation_low"] <= row["amplitude"] <= row["relaxation_high"] for row in amplitude_rows])


def mean_right(rows: Rows) -> str:
    """Return the share of distributions whose mean size is right."""
    return percent([_relative_error(row, "mean") <= MAX_MEAN_ERROR for row in rows if "mean_found" in row])


def width_right(rows: Rows) -> str:
    """Return the share of distributions whose width is right."""
    return percent([_relative_error(row, "width") <= MAX_WIDTH_ERROR for row in rows if "width_found" in row])


def mean_covered(rows: Rows) -> str:
    """Return the share of intervals that contain the mean size."""
    return _share_covered(rows, "mean")


def width_covered(rows: Rows) -> str:
    """Return the share of intervals that contain the width."""
    return _share_covered(rows, "width")


def _share_covered(rows: Rows, name: str) -> str:
    answered_rows = [row for row in rows if f"{name}_found" in row]
    return percent([row[f"{name}_found"][1] <= row[name] <= row[f"{name}_found"][2] for row in answered_rows])


def _relative_error(row: dict, name: str) -> float:
    return abs(row[f"{name}_found"][0] / row[name] - 1)


def _median(values: list[float]) -> str:
    return number(np.median(values), 2) if values else "–"


TARGETS = (
    Target("type right", "listed", ("mine",), type_right, "at least 97 %"),
    Target("number of atoms exact", "listed", ("mine",), atoms_exact, "at least 75 %"),
    Target("median Rw over that of the noise", "listed", ("mine",), misfit_ratio, "at most 1.3"),
    Target("number of atoms in its interval", "listed", COMMANDS, atoms_covered, "85 to 95 %"),
    Target("median error of the number of atoms", "unlisted", ("solve",), atoms_error, "at most 1.5 %"),
    Target("type right", "unlisted", ("solve",), type_right, "at least 97 %"),
    Target("median W1, Å", "unlisted", ("solve",), median_distance_error, "at most 0.04"),
    Target("amplitude within 0.1", "listed", ("mine",), amplitude_right, "at least 90 %"),
    Target("amplitude within 0.1", "unlisted", ("solve",), amplitude_right, "at least 90 %"),
    Target("amplitude in its interval", "listed", ("mine",), amplitude_covered, "85 to 95 %"),
    Target("amplitude in its interval", "unlisted", ("solve",), amplitude_covered, "85 to 95 %"),
    Target("mean size within 3 %", "distributions", ("mine",), mean_right, "at least 80 %"),
    Target("width within 15 %", "distributions", ("mine",), width_right, "at least 80 %"),
)
"""Measures of the README with their targets."""
PART_MEASURES: dict[str, Callable[[Rows], str]] = {
    "type right": type_right,
    "number of atoms exact": atoms_exact,
    "median error of the number of atoms": atoms_error,
    "atoms in their interval": atoms_covered,
    "Rw over that of the noise": misfit_ratio,
    "W1, Å": median_distance_error,
    "amplitude within 0.1": amplitude_right,
    "amplitude in its interval": amplitude_covered,
}
"""Measures of the answers for single particles."""
SAMPLE_MEASURES: dict[str, Callable[[Rows], str]] = {
    "type right": type_right,
    "mean within 3 %": mean_right,
    "mean in its interval": mean_covered,
    "width within 15 %": width_right,
    "width in its interval": width_covered,
}
"""Measures of the answers for distributions."""


# ---- tables


def relaxed_block(rows: Rows) -> str:
    """Return the measures that have targets, and how many particles are rejected."""
    lines = [["particles", "measure", *COMMANDS, "target"]]
    for target in TARGETS:
        cells = [
            target.value(_selected_rows(rows, target.part, command)) if command in target.commands else ""
            for command in COMMANDS
        ]
        title = PART_TITLES.get(target.part, target.part)
        lines.append([title, target.measure, *cells, target.target])
    return f"{rejection_sentence(rows)}\n\n{markdown_table(lines)}"


def relaxed_parts_table(rows: Rows) -> str:
    """Return all measures of single particles, one line for each part and command."""
    lines = [["particles", "command", "cases", *PART_MEASURES, "solved", "seconds"]]
    for part, title in PART_TITLES.items():
        for command in COMMANDS:
            if case_rows := _selected_rows(rows, part, command):
                cells = [measure(case_rows) for measure in PART_MEASURES.values()]
                solved = percent([row["status"] == "solved" for row in case_rows])
                seconds = _median([row["seconds"] for row in case_rows if row.get("seconds") is not None])
                lines.append([title, command, str(len(case_rows)), *cells, solved, seconds])
    return markdown_table(lines)


def relaxed_types_table(rows: Rows) -> str:
    """Return the measures of `mine` for the particles of the library, one line for each kind."""
    lines = [["kind", "cases", "median strain", *PART_MEASURES]]
    for (kind,), case_rows in group_rows(_selected_rows(rows, "listed", "mine"), ("kind",)).items():
        strain = _median([row["strain"] for row in case_rows])
        cells = [measure(case_rows) for measure in PART_MEASURES.values()]
        lines.append([kind, str(len(case_rows)), strain, *cells])
    return markdown_table(lines)


def relaxed_samples_table(rows: Rows) -> str:
    """Return the measures of distributions, one line for each number of kinds of particles and each command."""
    lines = [["kinds of particles", "command", "cases", *SAMPLE_MEASURES, "called a distribution"]]
    for (kind, command), case_rows in group_rows(rows, ("kind", "command")).items():
        if case_rows[0]["part"] == "distributions":
            cells = [measure(case_rows) for measure in SAMPLE_MEASURES.values()]
            decisions = percent([row["sample"] == "distribution" for row in case_rows if "sample" in row])
            lines.append([kind, command, str(len(case_rows)), *cells, decisions])
    return markdown_table(lines)


def rejections_table(rows: Rows) -> str:
    """Return the numbers of particles that were accepted and rejected, one line for each part and kind."""
    lines = [["part", "kind", "slots", "particles", "of them at a saddle point", "rejected", "reasons"]]
    for (part, kind), slot_rows in group_rows(_slots(rows), ("part", "kind")).items():
        if part in PART_TITLES:
            particles = [row for row in slot_rows if row["command"] != "none"]
            reasons: Counter[str] = Counter()
            for row in slot_rows:
                reasons.update(row["rejections"])
            text = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common()) or "–"
            n_saddles = sum(not row["minimum"] for row in particles)
            counts = [len(slot_rows), len(particles), n_saddles, sum(reasons.values())]
            lines.append([part, kind, *map(str, counts), text])
    return markdown_table(lines)


def rejection_sentence(rows: Rows) -> str:
    """Return how many particles are rejected when they are relaxed, and how many of bcc and sc are at saddle points."""
    slots = [row for row in _slots(rows) if row["part"] in ("listed", "unlisted")]
    unstable_slots = [row for row in slots if row["kind"] in ("bcc", "sc")]
    n_saddles = sum(row["command"] != "none" and not row["minimum"] for row in unstable_slots)
    return (
        f"Of the bcc and sc particles {_rejected_share(unstable_slots)} collapse or change their type when they are "
        f"relaxed. Of the accepted ones {n_saddles} are at a saddle point of the energy. Of the other kinds "
        f"{_rejected_share([row for row in slots if row not in unstable_slots])} are rejected."
    )


def _rejected_share(slots: Rows) -> str:
    """Return the number of rejected particles and the number of all particles that were relaxed."""
    n_rejected = sum(sum(row["rejections"].values()) for row in slots)
    return f"{n_rejected} of {n_rejected + sum(row['command'] != 'none' for row in slots)}"


def _slots(rows: Rows) -> Rows:
    """Return one row of each slot."""
    return [slot_rows[0] for slot_rows in group_rows(rows, ("part", "index", "seed", "draw")).values()]
