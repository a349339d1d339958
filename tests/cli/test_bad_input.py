"""Hundreds of damaged files: each is read as the curve that it holds, or refused in one line that names it."""

import io
import re
import subprocess
import sys
import time
import warnings
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.cluster import Icosahedron
from command_line import read_table, run_command
from measurement_files import HEADERS, LABELS, assert_one_sentence, rows

from jaxstruc.clusters import structure_files
from jaxstruc.io import gr
from jaxstruc.io.columns import ReadError
from jaxstruc.io.measurement import resolve_settings
from jaxstruc.options.pdf import DataOptions
from jaxstruc.pdf.solve import PdfPlan, prepare_measurement

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"
R, G = np.loadtxt(EXAMPLE, skiprows=16)[::2].T
BOND = 2.88
PROGRAM_HEADERS = {name: header.replace("Pt", "Ag") + LABELS for name, header in HEADERS.items() if name != "bare"}
PROGRAM_HEADERS["example"] = EXAMPLE.read_text().split("#S 1\n")[0]
PROGRAM_HEADERS["PDFgui"] = "stype=X  qmin=1.0 qmax=22.0  qdamp=0.03\n##### start data\n#L r(A) G(r) d_r d_Gr\n"
GOOD_CONTENTS = {name: (header + rows(R, G)).encode() for name, header in PROGRAM_HEADERS.items()}
GOOD_CONTENTS["tabs"] = GOOD_CONTENTS["example"].replace(b" 0.", b"\t0.").replace(b" -", b"\t-").replace(b"\n", b"\r\n")
GOOD_CONTENTS["columns"] = (PROGRAM_HEADERS["PDFgui"] + rows(R, G).replace("\n", " 0.0 0.01\n")).encode()
LIBRARY_OPTIONS = ("--element", "Ag", "--families", "icosahedron", "--max-atoms", 60, "--ensemble", "none")
EXACT_DAMAGES = ("cut", "bytes", "lines", "encoding")
"""Kinds of damage after which a curve that is read must be the curve that was there, but for a few points."""


def truncated_files(rng):
    for name, content in GOOD_CONTENTS.items():
        for position in rng.integers(1, len(content), 6):
            yield f"{name}-end{position}", content[:position]
            yield f"{name}-start{position}", content[position:]


def files_with_damaged_bytes(rng):
    for (name, content), count in product(GOOD_CONTENTS.items(), (1, 3, 10, 100)):
        positions = np.sort(rng.choice(len(content), count, replace=False))
        random_bytes = rng.integers(0, 256, count, dtype=np.uint8)
        printable_bytes = rng.choice(np.frombuffer(b"0123456789.-+eE ,;#=\n\tqrnm", np.uint8), count)
        array = np.frombuffer(content, np.uint8)
        random_copy, printable_copy = array.copy(), array.copy()
        random_copy[positions], printable_copy[positions] = random_bytes, printable_bytes
        yield f"{name}-{count}changed", random_copy.tobytes()
        yield f"{name}-{count}typed", printable_copy.tobytes()
        yield f"{name}-{count}inserted", np.insert(array, positions, printable_bytes).tobytes()
        yield f"{name}-{count}removed", np.delete(array, positions).tobytes()


def files_with_damaged_lines(rng):
    for name, content in GOOD_CONTENTS.items():
        lines = content.splitlines(keepends=True)
        position = int(rng.integers(30, len(lines) - 200))
        order = rng.permutation(len(lines))
        yield f"{name}-shuffled", b"".join(lines[index] for index in order)
        yield (
            f"{name}-swapped",
            b"".join([*lines[:position], lines[position + 1], lines[position], *lines[position + 2 :]]),
        )
        yield f"{name}-doubled", b"".join(line + line for line in lines)
        yield f"{name}-twice", content + content
        yield f"{name}-again", b"".join([*lines[: position + 5], *lines[position:]])
        yield f"{name}-lost", b"".join([*lines[:position], *lines[position + 1 :]])
        yield f"{name}-gap", b"".join([*lines[:position], *lines[position + 100 :]])
        yield f"{name}-thinned", b"".join(line for line in lines if rng.random() > 0.3)
        yield f"{name}-turned", b"".join(lines[::-1])
        yield f"{name}-joined", content.replace(b"\n", b" ")
        yield f"{name}-parted", content.replace(b"\n", b"\n\n\n")


def files_in_other_encodings(rng):
    for name in ("example", "xPDFsuite"):
        text = GOOD_CONTENTS[name].decode() + "# Ångström\n"
        for encoding in (
            "utf-8",
            "utf-8-sig",
            "latin-1",
            "utf-16",
            "utf-16-le",
            "utf-16-be",
            "utf-32",
            "utf-7",
            "cp037",
        ):
            yield f"{name}-{encoding}", text.encode(encoding)
        yield f"{name}-crlf", text.encode().replace(b"\n", b"\r\n")
        yield f"{name}-cr", text.encode().replace(b"\n", b"\r")
        yield f"{name}-null", text.encode().replace(b"\n", b"\0\n", 5)
        yield f"{name}-late-null", text.encode() + b"\0\0\0"
        yield f"{name}-escape", b"\x1b[2J\x07" * 3 + text.encode()
        yield f"{name}-arabic", text.translate({48 + digit: 0x660 + digit for digit in range(10)}).encode()
        yield f"{name}-minus", text.replace("-", "\N{MINUS SIGN}").encode()
        yield f"{name}-space", text.replace(" ", "\N{NO-BREAK SPACE}").encode()


def files_with_damaged_numbers(rng):
    lines = rows(R, G).splitlines()
    number_texts = [*"nan NaN inf -inf 1e400 -1e400 1e300 1e-320 -7 **** 0x10 1_000 -- 1,5 1e 1d400".split(), ""]
    for number_text, column, count in product(number_texts, (0, 1), (1, 400)):
        broken_lines = lines.copy()
        for position in rng.choice(len(lines), count, replace=False):
            broken_lines[position] = " ".join(
                number_text if index == column else cell for index, cell in enumerate(lines[position].split())
            )
        yield (
            f"{number_text or 'none'}-{column}-{count}",
            (PROGRAM_HEADERS["example"] + "\n".join(broken_lines) + "\n").encode(),
        )


def files_with_damaged_headers(rng):
    values = ("-1", "nan", "inf", "0", "1e9", "1e-9", "1e400", "many words", "22 1/A", "22,0", "x" * 100_000, "\x1b[2J")
    for name, value in product(("qmin", "qmax", "qdamp", "qbroad", "rmin", "rmax", "rstep", "composition"), values):
        header = re.sub(rf"(?m)^{name} = .*\n|^\[DEFAULT\]", f"{name} = {value}\n", PROGRAM_HEADERS["example"])
        yield f"{name}-{values.index(value)}", (header + rows(R, G)).encode()
    for number, line in enumerate(
        ("qmax = 0.5\nqmin = 1", "qmax = 22\nqmin = 21.9", "qmax = 22\nqmin = 22", "outputtype = sq", "outputtype = ",
         "= = = =", "qmax", "[" * 50_000, "a = b" + " " * 200_000 + "c", "a" * 500_000, "# " * 200_000, "\n" * 50_000,
         "#\n" * 50_000, "a = b " * 50_000, "Q" + " " * 200_000 + "x", "r" + ",/( " * 50_000, "1 " * 200_000)
    ):  # fmt: skip
        yield f"line-{number}", (PROGRAM_HEADERS["example"] + line + "\n" + rows(R, G)).encode()


def files_without_a_pdf(rng):
    """Yield files that hold no G(r) in Å: other units, other curves, other formats."""
    header = PROGRAM_HEADERS["example"]
    sine = np.sin(3 * R)
    labels = (
        "#L r(nm) G", "# r [nm], G", "r_nm G", "#L Q($\\AA^{-1}$) S(a.u.)", "# Q F(Q)", "Q/A^-1 F", "# q_A^-1 I", "Q,I",
        "# 2theta I", "2-Theta Angle (Degrees)", "# 2th_deg I", "TwoTheta Intensity", "tth,I", "#L Q  Intensity",
        "q (1/nm), I(q)", "# 2θ I", "Angle (deg)  I",
    )  # fmt: skip
    for number, label in enumerate(labels):
        yield f"label-{number}", (header + label + "\n" + rows(R, G)).encode()
    columns_by_name = {
        "s": (R, 1 + 0.1 * G), "i": (R, 100 * np.exp(-R) + 5 + sine), "f0": (R, np.exp(-(R**2))), "flat": (R, 0 * R),
        "ones": (R, 0 * R + 1), "nm": (R / 10, G), "m": (R * 1e-10, G), "pm": (R * 100, G), "coarse": (R * 10, G),
        "far": (R * 1e300, G), "near": (R * 1e-300, G), "denormal": (R * 1e-310, G), "below": (R - 5, G),
        "falling": (R[::-1], G[::-1]), "repeated": (np.round(R, 1), G), "one": (0 * R, G), "log": (R**2, G),
        "huge": (R, G * 1e300), "large": (R, G * 1e20), "tiny": (R, G * 1e-300), "small": (R, G * 1e-20),
        "fine": (R * 1e-7, G), "degrees": (R * 6, 1e4 * np.exp(-R / 9) * (1 + sine**2)), "swapped": (G, R),
        "noise": (R, rng.normal(size=R.size)), "short": (R[:50], G[:50]), "start": (R[R > 25], G[R > 25]),
    }  # fmt: skip
    for name, (r, g) in columns_by_name.items():
        yield f"curve-{name}", (header + rows(r, g)).encode()
    dense_r = np.arange(0, 30, 1e-5)[:70_000]
    yield "dense", (header + rows(dense_r, np.sin(dense_r))).encode()
    yield "long", (header + "1 2\n" * 500_000).encode()
    yield "comma-space", (header + rows(R, G).replace(".", ",")).encode()
    yield "comma-semicolon", (header + rows(R, G, ";").replace(".", ",")).encode()
    yield "comma-comma", (header + rows(R, G, ",").replace(".", ",")).encode()
    yield "one-column", header.encode() + b"\n".join(b"%.6g" % value for value in G)
    yield "one-line", header.encode() + b" ".join(b"%.6g" % value for value in G)
    yield "ten-lines", header.encode() + b"\n".join([b"1 " * 100_000] * 10)
    yield "digits", header.encode() + b"\n".join([b"1" * 100_000 + b" 1"] * 10)
    yield "zip", _npz_bytes()
    yield "png", b"\x89PNG\r\n\x1a\n" + rng.bytes(5000)
    yield "random", rng.bytes(20_000)
    yield "letters", rng.choice(np.frombuffer(b"abc \n", np.uint8), 20_000).tobytes()
    yield "empty", b""
    yield "blank", b"\n \t\r\n" * 1000
    yield "header", header.encode()
    yield "html", b"<!DOCTYPE html>\n<html><body>404</body></html>\n"
    yield "xyz", b"3\n\nAg 0 0 0\nAg 0 0 3\nAg 0 3 0\n"
    yield "nine", (header + "".join(f"{number} {-number}\n" for number in range(9))).encode()
    yield "rising", (header + rows(R, R)).encode()


def damaged_structures(rng):
    """Yield damaged structure files, and whether they may be read."""
    stream = io.StringIO()
    ase.io.write(stream, Icosahedron("Ag", 3), format="extxyz", columns=["symbols", "positions"])
    content = stream.getvalue()
    lines = content.splitlines(keepends=True)
    distant_atom = lines[2].replace("0.0", "1e300", 1)
    for position in rng.integers(1, len(content), 8):
        yield f"end{position}", content[:position], True
        yield f"start{position}", content[position:], True
    for count in (1, 3, 10, 30):
        positions = np.sort(rng.choice(len(content), count, replace=False))
        array = np.frombuffer(content.encode(), np.uint8)
        printable_bytes = rng.choice(np.frombuffer(b'0123456789.-+eE :="\nAgX', np.uint8), count)
        changed_copy = array.copy()
        changed_copy[positions] = printable_bytes
        yield f"{count}changed", changed_copy.tobytes(), True
        yield f"{count}inserted", np.insert(array, positions, printable_bytes).tobytes(), True
        yield f"{count}removed", np.delete(array, positions).tobytes(), True
    for number, count in enumerate(
        ("0", "-5", "5", "56", "1000000000", "1_000_000_000", "+2000000000", "9" * 5000, "9" * 30, "5.5", "nan", "")
    ):
        yield f"count{number}", content.replace("55", count, 1), False
    yield "frame", content + "1000000000\n\nAg 0 0 0\n", False
    yield "frames", content + content, True
    for number, comment in enumerate(
        ("Properties=species:S:1:pos:R:300000000", "Properties=pos:R:3", "Properties=", 'Lattice="1 2 3"',
         "Properties=species:S:1:pos:S:3", f'Lattice="{"nan " * 9}"', "a=" * 1000, "_JSON{", 'x="', "[" * 1000)
    ):  # fmt: skip
        yield f"comment{number}", "".join([lines[0], comment + "\n", *lines[2:]]), True
    for number, line in enumerate(
        ("Ag nan 0 0", "Ag inf 0 0", "Ag 1e400 0 0", "Ag 1e300 0 0", "Ag 1e9 0 0", "X 0 9 0", "Qq 0 9 0", "Au 0 20 0",
         "Ag 0 0", "Ag", "", "Ag 0,5 0,5 0,5", lines[3].strip(), "200 0 9 0", "Ag a b c", "Ag 0x10 0 0")
    ):  # fmt: skip
        yield f"atom{number}", "".join([*lines[:2], line + "\n", *lines[3:]]), False
    yield "alone", "1\n\nAg 0 0 0\n", False
    yield "empty", "", False
    yield "binary", rng.bytes(5000), False
    yield "zip", _npz_bytes(), False
    yield "trajectory", b"- of UlmASE-Trajectory" + rng.bytes(200), False
    yield "xml", "<modeling><", False
    yield "json", '{"1": {', False
    yield "wide", content.encode("utf-16"), False
    yield "shuffled", "".join(lines[index] for index in rng.permutation(len(lines))), False
    yield "curve", GOOD_CONTENTS["example"], False
    yield "far", "".join([*lines[:2], distant_atom, *lines[3:]]), False


def _npz_bytes():
    stream = io.BytesIO()
    np.savez(stream, r=R, g=G)
    return stream.getvalue()


DAMAGE_GENERATORS = {
    "cut": truncated_files,
    "bytes": files_with_damaged_bytes,
    "lines": files_with_damaged_lines,
    "encoding": files_in_other_encodings,
    "number": files_with_damaged_numbers,
    "header": files_with_damaged_headers,
    "refused": files_without_a_pdf,
}


def damaged_files(damage):
    return list(DAMAGE_GENERATORS[damage](np.random.default_rng(list(DAMAGE_GENERATORS).index(damage))))


@pytest.mark.parametrize("damage", DAMAGE_GENERATORS)
def test_a_spoiled_file_is_the_curve_it_holds_or_refused_in_one_line(damage, tmp_path):
    files, n_read = damaged_files(damage), 0
    for name, raw in files:
        path = tmp_path / f"{name}.gr"
        path.write_bytes(raw)
        start_time = time.process_time()
        try:
            with warnings.catch_warnings(action="error"):
                measurement = resolve_settings(gr.read(path), DataOptions(), bond=BOND)
        except ReadError as error:
            assert_error_names_file(error, path)
        else:
            n_read += 1
            assert_valid_measurement(measurement, name, is_exact=damage in EXACT_DAMAGES)
        assert time.process_time() - start_time < 10, name  # no hang
    assert len(files) >= 30 and (n_read == 0 if damage == "refused" else n_read > len(files) / 10), (len(files), n_read)


def test_a_path_without_a_readable_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.gr", tmp_path / "a" / "none.gr", Path("/dev/null"), tmp_path / ("x" * 300)):
        with pytest.raises(ReadError) as error:
            gr.read(path)
        assert_error_names_file(error.value, path)
    (tmp_path / "loop.gr").symlink_to(tmp_path / "loop.gr")
    with pytest.raises(ReadError, match="does not exist"):
        gr.read(tmp_path / "loop.gr")


def test_a_spoiled_cluster_is_read_or_refused_in_one_line(tmp_path):
    structures, n_read = list(damaged_structures(np.random.default_rng(0))), 0
    for name, raw, may_be_read in structures:
        path = tmp_path / f"{name}.xyz"
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        start_time = time.process_time()
        try:
            with warnings.catch_warnings(action="error"):
                structures_read = structure_files.read_clusters(path).values()
        except ValueError as error:
            assert_error_names_file(error, path)
        else:
            n_read += 1
            assert may_be_read, name
            for structure in structures_read:
                assert np.isfinite(structure.positions).all() and 2 <= len(structure) <= 56, name
                assert structure.get_all_distances().max() < 1000, name
        assert time.process_time() - start_time < 10, name  # no hang
    assert len(structures) >= 60 and n_read >= 5


@pytest.fixture(scope="module")
def damaged_folder(tmp_path_factory):
    """Return a sample of damaged files, the example, a folder and a missing file: by path, whether it is readable."""
    folder = tmp_path_factory.mktemp("spoiled")
    is_readable_by_path = {}
    for damage in DAMAGE_GENERATORS:
        files, n_readable = damaged_files(damage), 0
        for name, raw in files[:: max(1, len(files) // 20)]:
            path = folder / f"{damage}-{name}.gr"
            path.write_bytes(raw)
            covers_range = _covers_fit_range(path)
            n_readable += bool(covers_range) and damage in ("cut", "encoding", "header")
            if covers_range is None or (covers_range and n_readable == 1):  # whole curves, for they share compilations
                is_readable_by_path[path] = covers_range is not None
                n_readable += is_readable_by_path[path]
    (folder / "empty.gr").mkdir()
    (folder / "good.gr").write_bytes(EXAMPLE.read_bytes())
    return is_readable_by_path | {folder / "empty.gr": False, folder / "none.gr": False, folder / "good.gr": True}


def test_a_folder_of_spoiled_files_has_a_row_for_each_and_the_good_an_answer(damaged_folder, tmp_path, capfd):
    assert run_command("mine", *damaged_folder, *LIBRARY_OPTIONS, "-o", tmp_path) == 3
    output = capfd.readouterr()
    assert "Traceback" not in output.out + output.err and "Warning" not in output.err
    rows_by_file = {row["file"]: row for row in read_table(tmp_path / "summary.csv")}
    assert list(rows_by_file) == [str(path) for path in damaged_folder] and len(rows_by_file) > 60
    for path, readable in damaged_folder.items():
        row = rows_by_file[str(path)]
        assert row["status"] == ("weak" if readable else "failed"), row
        if readable:
            assert 0 < float(row["rw"]) < 1.1 and (tmp_path / "best" / f"{path.stem}.xyz").exists()
        else:
            assert row["message"].startswith("Expected ") and row["message"].endswith("."), row
            assert f"{path}: failed: {row['message']}\n" in output.out
    assert sum(damaged_folder.values()) == 4


def test_a_separate_process_reports_damaged_files_alike(damaged_folder, tmp_path):
    selected_paths = [path for path in damaged_folder if not damaged_folder[path] or path.stem == "good"][::5]
    command = [sys.executable, "-m", "jaxstruc", "mine", *selected_paths, *LIBRARY_OPTIONS, "-o", tmp_path]
    completed = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert completed.returncode == 3 and "Traceback" not in completed.stdout + completed.stderr
    assert len(read_table(tmp_path / "summary.csv")) == len(selected_paths)


def test_a_lone_bad_file_is_refused_in_one_line(damaged_folder, tmp_path, capfd):
    for path in [path for path, readable in damaged_folder.items() if not readable][::4]:
        assert run_command("mine", path, *LIBRARY_OPTIONS, "-o", tmp_path / "out") == 2
        error = capfd.readouterr().err
        assert error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("x.dat", "# Q (1/A)  I (1/cm)\n", (), "pass it to jaxstruc saxs"),
        ("x.iq", "", (), "pass it to jaxstruc saxs"),
        ("x.sq", "", (), "pass --q-unit 1/A"),
        ("x.sq", "", ("--q-unit", "2theta"), "pass --wavelength"),
        ("x.sq", "", ("--q-unit", "1/A", "--qmax", 90), "within the data"),
        ("x.dat", "", ("--q-unit", "1/A"), "pass --kind sq or --kind fq"),
        ("x.dat", "", ("--q-unit", "1/A", "--kind", "fq"), "oscillates around 0"),
    ],
)
def test_a_curve_over_q_that_leads_to_no_pdf_is_refused_in_one_line(name, text, options, message, tmp_path, capfd):
    path = tmp_path / name
    path.write_text(text + "".join(f"{0.1 * index} {1 + 1 / index}\n" for index in range(1, 200)))
    assert run_command("mine", path, *LIBRARY_OPTIONS, *options, "-o", tmp_path / "out") == 2
    error = capfd.readouterr().err
    assert (
        error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error and message in error
    )
    assert not (tmp_path / "out").exists()


def test_a_bad_cluster_is_refused_in_one_line(tmp_path, capfd):
    for name, raw, may_be_read in list(damaged_structures(np.random.default_rng(0)))[::3]:
        if not may_be_read:
            path = tmp_path / f"{name}.xyz"
            path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
            assert run_command("refine", path, EXAMPLE, "-o", tmp_path / "out") == 2
            error = capfd.readouterr().err
            assert error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error
    assert not (tmp_path / "out").exists()


def _covers_fit_range(path):
    """Return whether a file holds the fitted range, or None if it is refused."""
    try:
        r = prepare_measurement(gr.read(path), PdfPlan("Ag", ())).r
    except ValueError:
        return None
    return r[0] < 1.5 and r[-1] > 20


def assert_error_names_file(error, path):
    """Assert that an error is one short sentence that names the file."""
    assert_one_sentence(SimpleNamespace(value=error))
    assert str(path) in str(error) and len(str(error)) < 300 + len(str(path)), error


def assert_valid_measurement(measurement, name, *, is_exact):
    """Assert that grid and settings are finite, and that 99 % of the numbers are those of the file."""
    (r, g), settings = measurement.curve, measurement.settings_by_name
    assert np.isfinite([measurement.r, measurement.g]).all() and np.isfinite(list(settings.values())).all(), name
    assert 0 <= r[0] and r[-1] <= 500 and np.ptp(np.diff(r)) < 0.4 * settings["rstep"] and len(r) == len(g) >= 10, name
    assert 0 <= settings["qmin"] < settings["qmax"] <= 100 and 0 <= settings["qdamp"] <= 1, name
    assert sum(map(len, measurement.warnings)) < 500 and all(text.isprintable() for text in measurement.warnings), name
    if is_exact:
        nearest_rows = np.abs(measurement.r[:, None] - R).argmin(axis=1)
        assert np.mean((measurement.r == R[nearest_rows]) & (measurement.g == G[nearest_rows])) > 0.97, name
