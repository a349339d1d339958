"""Hundreds of files with changed labels, units, columns and bytes: each is read, or refused in one line."""

import time
import warnings

import numpy as np
import pytest

from jaxstruc.io import read
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import Measurement, resolve_settings
from jaxstruc.io.reduction import reduce_to_pdf
from jaxstruc.options.pdf import DataOptions

CASES = (
    "growth.gr", "Pt_Gk_mantid.gr", "Au_m_sr.dat", "Au_mm.dat", "Au_2thrad.dat", "Pt_nyquist_r4.gr", "Au_counts_de.dat",
    "whole_angle_de.xye", "Au_utf16.dat",
)  # fmt: skip
LABELS = (
    "G(r)", "G_k(r)", "g(r)", "D(r)", "T(r)", "RDF", "n(r)", "I (1/m/sr)", "I [mm^-1]", "I (1/furlong)", "sigma", "dQ",
    "±", "q (1/nm)", "r(nm)", "2th_rad", "S(Q)", "F(Q)", "300 K", "G_t=0s", "((", "I (((1/cm)", "x" * 90, "Σ⁻¹",
    "\x1b[2J", "",
)  # fmt: skip
SEPARATORS = (" ", "\t", ";", ",", ", ", " ; ", "|")
N_ROWS = 120
MAX_SECONDS_OF_A_FILE = 5


def thin(lines):
    """Return a text with its first lines and about `N_ROWS` of the others."""
    return "\n".join(lines[:14] + lines[14 :: max(1, len(lines) // N_ROWS)])


def mutate(text, rng):
    """Return a text with one to three random changes of its labels, columns, numbers, lines or characters."""
    lines = text.splitlines()
    for _ in range(rng.integers(1, 4)):
        row = int(rng.integers(len(lines)))
        column = int(rng.integers(6))
        fields = [line.split() for line in lines]
        change = int(rng.integers(9))
        if change == 0:
            lines = [" ".join(part for index, part in enumerate(line) if index != column) for line in fields]
        elif change == 1:
            lines = [line + SEPARATORS[column] + line.split()[-1] if line.split() else line for line in lines]
        elif change == 2:
            separator = SEPARATORS[int(rng.integers(len(SEPARATORS)))]
            lines = [separator.join(line) for line in fields]
        elif change == 3:
            names = rng.choice(LABELS, len(fields[-1]) if fields[-1] else 2)
            lines.insert(max(0, len(lines) - N_ROWS), "# " + SEPARATORS[column].join(names))
        elif change == 4:
            lines = [line.replace(".", ",") if index > row else line for index, line in enumerate(lines)]
        elif change == 5:
            lines = lines[:row] + [line for line in lines[row:] if rng.random() < 0.9]
        elif change == 6:
            value = rng.choice(["nan", "--", "1e400", "-1", "0", "", "1,5", "0x1f", "1_0", "٣"])
            lines[row:] = [line.replace(line.split()[-1], value) if line.split() else line for line in lines[row:]]
        elif change == 7:
            lines = lines[:row]
        else:
            position = int(rng.integers(len(lines[row]) + 1))
            lines[row] = lines[row][:position] + chr(int(rng.integers(1, 0x2FF))) + lines[row][position + 1 :]
        lines = lines or ["# r G"]
    return "\n".join(lines) + "\n"


def read_completely(path, options):
    """Return all usable curves of a file, after the steps that the commands take before a fit."""
    measurements = []
    for measurement in read.read_all(path, **options):
        if isinstance(measurement, Measurement):
            if measurement.kind in options.get("accepted_kinds", ()):
                pdf = reduce_to_pdf(measurement, DataOptions(qmin=0.8))
                measurement = resolve_settings(pdf, DataOptions(qmin=0.8, qmax=15.0), bond=2.8)
            measurements.append(measurement)
    assert read.count_frames(path, **options) >= len(measurements)
    return measurements


@pytest.mark.slow
def test_mutated_files_are_read_or_refused_in_one_line(case, tmp_path):
    rng, n_read, n_refused = np.random.default_rng(29), 0, 0
    raw = {name: case(name).read_bytes() for name in CASES}
    texts = {name: content.decode("utf-16" if "utf16" in name else "utf-8") for name, content in raw.items()}
    texts = {name: thin(text.splitlines()) for name, text in texts.items()}
    for number in range(306):
        name = CASES[number % len(CASES)]
        path = tmp_path / name
        content = mutate(texts[name], rng).encode(rng.choice(["utf-8", "utf-8", "utf-16", "utf-16-le"]), "replace")
        path.write_bytes(content[: int(rng.integers(len(content) + 1))] if number % 10 == 0 else content)
        options = [{}, {"accepted_kinds": read.PDF_KINDS}, {"q_unit": "2theta-rad", "wavelength": 1.0}][number % 3]
        start_time = time.process_time()
        with warnings.catch_warnings(action="error"):
            try:
                n_read += bool(read_completely(path, options))
            except ReadError as error:
                n_refused += 1
                message = str(error)
                assert message.startswith("Expected ") and message.endswith(".") and message.isprintable(), message
                assert str(path) in message and len(message) < 400 + len(str(path)), message
        assert time.process_time() - start_time < MAX_SECONDS_OF_A_FILE
    assert n_read > 60 and n_refused > 60


@pytest.mark.parametrize("name", CASES)
def test_the_files_before_the_mutations_are_read_or_refused_as_they_should_be(case, name):
    options = {"wavelength": 1.0}
    if name in ("Au_counts_de.dat", "whole_angle_de.xye"):
        with pytest.raises(ReadError, match="decimal commas"):
            read.read_all(case(name), **options)
    else:
        assert len(read.read_all(case(name), **options)) == (5 if name == "growth.gr" else 1)
