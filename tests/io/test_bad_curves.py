"""Hundreds of damaged files of curves over Q. Each is read as a valid curve, or refused in one line with its path."""

import time
import warnings
from itertools import product
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import DQ, SIGMA, I, Q, cansas_xml, text_columns, write_nxcansas, write_nxcansas_entry

from jaxstruc.io import isolated_process, points, read, reduction
from jaxstruc.io.columns import ReadError
from jaxstruc.options.pdf import DataOptions

OSCILLATION = 1 + 0.3 * np.sin(60 * Q)
TEXT_FILES = {
    "x.dat": text_columns(Q, I, SIGMA, DQ, header="# Q (1/A)  I (1/cm)  sigma  dQ\n"),
    "x.txt": text_columns(Q, I, SIGMA),
    "y.txt": text_columns(Q, np.sin(60 * Q)),
    "x.chi": text_columns(10 * Q, I, header="image.tif\nQ (Inverse Nanometres)\nIntensity\n 80\n"),
    "x.ABS": text_columns(
        Q, I, SIGMA, DQ, Q, 0 * Q, header="The 6 columns are | Q (1/A) | I | dI | sigmaQ | mean | s |\n"
    ),
    "x.csv": text_columns(Q, I, SIGMA, separator=",", header='"Q (1/Å)","I (1/cm)","error"\n'),
    "x.sq": text_columns(Q, OSCILLATION, header="outputtype = sq\n#L Q($\\AA^{-1}$)  S(a.u.)\n"),
    "x.xml": cansas_xml(),
}
PRINTABLE_BYTES = np.frombuffer(b'0123456789.-+eE ,;#=\n\t<>/"&qrnmA', np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _end_worker():
    yield
    isolated_process._end_process()


def damaged_copies(raw, rng, *, rounds):
    """Yield copies of a file that are cut, have bytes changed, inserted or removed, or lines reordered or doubled."""
    array = np.frombuffer(raw, np.uint8)
    for position in rng.integers(1, len(raw), 2 * rounds):
        yield raw[:position]
        yield raw[position:]
    for count, round_number in product((1, 5, 50), range(rounds)):
        positions = np.sort(rng.choice(len(raw), count, replace=False))
        new_bytes = (
            rng.choice(PRINTABLE_BYTES, count) if round_number % 2 else rng.integers(0, 256, count, dtype=np.uint8)
        )
        changed_copy = array.copy()
        changed_copy[positions] = new_bytes
        yield changed_copy.tobytes()
        yield np.insert(array, positions, new_bytes).tobytes()
        yield np.delete(array, positions).tobytes()


def reordered_copies(raw, rng):
    """Yield a text with its lines in another order."""
    lines = raw.splitlines(keepends=True)
    yield b"".join(lines[::-1])
    yield b"".join(line + line for line in lines)
    yield b"".join(lines[index] for index in rng.permutation(len(lines)))
    yield b"".join([*lines[:30], *lines[20:]])
    yield raw + raw
    yield raw.replace(b"\n", b" ")
    for number_text in (b"nan", b"inf", b"-7", b"1e400", b"1e-320", b"1e300", b"****", b"0", b"1,5", b""):
        yield raw.replace(b" 0.0", b" " + number_text, 1)
        yield raw.replace(b" 0.0", b" " + number_text)
    for encoding in ("utf-16", "utf-32", "cp037", "utf-7"):
        yield raw.decode().encode(encoding)


def is_read_as_valid_curve(path, **options):
    """Return whether a file is read as a valid curve; assert that it is refused in one line otherwise."""
    start_time = time.process_time()
    try:
        with warnings.catch_warnings(action="error"):
            measurement = read.read_curve(path, **options)
            if measurement.kind in ("sq", "fq"):
                assert np.isfinite(reduction.reduce_to_pdf(measurement, DataOptions()).g).all()
            elif measurement.kind == "iq":
                measurement = points.resolve_q_range(measurement)
    except ReadError as error:
        assert_one_sentence(SimpleNamespace(value=error))
        assert str(path) in str(error) and len(str(error)) < 300 + len(str(path)), error
        return False
    finally:
        assert time.process_time() - start_time < 5
    if measurement.kind != "gr":
        assert (
            measurement.q[0] > 0
            and (np.diff(measurement.q) > 0).all()
            and np.isfinite([measurement.q, measurement.intensity]).all()
        )
        assert measurement.sigma is None or (np.isfinite(measurement.sigma) & (measurement.sigma > 0)).all()
        assert measurement.dq is None or (np.isfinite(measurement.dq) & (measurement.dq >= 0)).all()
        assert len(measurement.q) >= 10 and all(text.isprintable() for text in measurement.warnings)
    return True


@pytest.mark.parametrize("name", TEXT_FILES)
def test_a_spoiled_text_is_read_or_refused_in_one_line(name, tmp_path):
    rng, raw, was_read = np.random.default_rng(len(name)), TEXT_FILES[name].encode(), []
    path = tmp_path / name
    for number, damaged_copy in enumerate([*damaged_copies(raw, rng, rounds=4), *reordered_copies(raw, rng)]):
        path.write_bytes(damaged_copy)
        was_read.append(is_read_as_valid_curve(path, q_unit=None if number % 3 else "1/A"))
    assert len(was_read) > 70 and 1 < sum(was_read) < len(was_read) - 9


@pytest.mark.parametrize("old_attributes", [False, True])
def test_a_spoiled_hdf5_file_is_read_or_refused_in_one_line(old_attributes, tmp_path):
    path = write_nxcansas(tmp_path / "x.h5", old_attributes=old_attributes)
    raw, rng, was_read = path.read_bytes(), np.random.default_rng(old_attributes), []
    for damaged_copy in damaged_copies(raw, rng, rounds=6):
        path.write_bytes(damaged_copy)
        was_read.append(is_read_as_valid_curve(path, q_unit="1/A"))
    assert len(was_read) > 70 and 1 < sum(was_read) < len(was_read) - 9


def test_other_files_with_such_endings_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    other_contents = (
        b"",
        b" \n",
        b"\0" * 100,
        rng.bytes(3000),
        b"<html/>",
        b"<?xml version='1.0'?><a/>",
        b"PK\3\4" + rng.bytes(50),
    )
    for name, raw in product(("x.dat", "x.chi", "x.xml", "x.h5", "x.sq", "x.nxs"), other_contents):
        path = tmp_path / name
        path.write_bytes(raw)
        assert not is_read_as_valid_curve(path, q_unit="1/A"), (name, raw[:10])


def test_a_gr_file_without_a_pdf_is_refused(tmp_path):
    """A .gr file must hold a G(r), so only the curve that oscillates around 0 may be read."""
    for name, text in TEXT_FILES.items():
        path = tmp_path / f"{name}.gr"
        path.write_text(text)
        assert is_read_as_valid_curve(path) == (name == "y.txt"), name


@pytest.mark.slow
def test_deep_and_wide_files_take_no_time(tmp_path):
    for number, header in enumerate(
        ("Q" + " " * 200_000 + "x\n", "Q(" * 50_000 + "\n", "Q (1/A) I" + "[" * 1900 + "\n", "| " * 900 + "\n",
         "#\n" * 50_000, ("Q" + "/ " * 900 + "\n") * 300, ("Q (1/A), " * 200 + "\n") * 300)
    ):  # fmt: skip
        path = tmp_path / f"{number}.dat"
        path.write_text(header + text_columns(Q, I))
        is_read_as_valid_curve(path, q_unit="1/A")
    path = tmp_path / "deep.xml"
    path.write_text("<?xml version='1.0'?>" + "<a>" * 100_000 + "</a>" * 100_000)
    assert not is_read_as_valid_curve(path)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        group = write_nxcansas_entry(file).parent
        for number in range(300):
            group.create_group(str(number))["back"] = h5py.SoftLink("/entry")
        file["entry/self"] = h5py.SoftLink("/")
    assert is_read_as_valid_curve(tmp_path / "wide.h5")
