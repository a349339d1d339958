"""Hundreds of spoiled files: each is read as the curve that it holds, or refused in one line that names it."""

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
from shell import run, table
from written import HEADERS, LABELS, assert_one_sentence, rows

from jaxstruc.data import gr
from jaxstruc.data.measurement import resolved
from jaxstruc.data.text import ReadError
from jaxstruc.options.pdf import DataOptions
from jaxstruc.solver.answers import Plan, prepared
from jaxstruc.structures import atoms

EXAMPLE = Path(__file__).parents[2] / "examples" / "Ag68_simulated.gr"
R, G = np.loadtxt(EXAMPLE, skiprows=16)[::2].T
BOND = 2.88
PROGRAMS = {name: header.replace("Pt", "Ag") + LABELS for name, header in HEADERS.items() if name != "bare"}
PROGRAMS["example"] = EXAMPLE.read_text().split("#S 1\n")[0]
PROGRAMS["PDFgui"] = "stype=X  qmin=1.0 qmax=22.0  qdamp=0.03\n##### start data\n#L r(A) G(r) d_r d_Gr\n"
GOOD = {name: (header + rows(R, G)).encode() for name, header in PROGRAMS.items()}
GOOD["tabs"] = GOOD["example"].replace(b" 0.", b"\t0.").replace(b" -", b"\t-").replace(b"\n", b"\r\n")
GOOD["columns"] = (PROGRAMS["PDFgui"] + rows(R, G).replace("\n", " 0.0 0.01\n")).encode()
FEW = ("--element", "Ag", "--families", "icosahedron", "--max-atoms", 60, "--ensemble", "none")
EXACT = ("cut", "bytes", "lines", "encoding")
"""Kinds of damage after which a curve that is read must be the curve that was there, but for a few points."""


def cut(rng):
    for name, good in GOOD.items():
        for place in rng.integers(1, len(good), 6):
            yield f"{name}-end{place}", good[:place]
            yield f"{name}-start{place}", good[place:]


def spoiled_bytes(rng):
    for (name, good), count in product(GOOD.items(), (1, 3, 10, 100)):
        places = np.sort(rng.choice(len(good), count, replace=False))
        other = rng.integers(0, 256, count, dtype=np.uint8)
        printable = rng.choice(np.frombuffer(b"0123456789.-+eE ,;#=\n\tqrnm", np.uint8), count)
        array = np.frombuffer(good, np.uint8)
        changed, typed = array.copy(), array.copy()
        changed[places], typed[places] = other, printable
        yield f"{name}-{count}changed", changed.tobytes()
        yield f"{name}-{count}typed", typed.tobytes()
        yield f"{name}-{count}inserted", np.insert(array, places, printable).tobytes()
        yield f"{name}-{count}removed", np.delete(array, places).tobytes()


def spoiled_lines(rng):
    for name, good in GOOD.items():
        lines = good.splitlines(keepends=True)
        here = int(rng.integers(30, len(lines) - 200))
        order = rng.permutation(len(lines))
        yield f"{name}-shuffled", b"".join(lines[i] for i in order)
        yield f"{name}-swapped", b"".join([*lines[:here], lines[here + 1], lines[here], *lines[here + 2 :]])
        yield f"{name}-doubled", b"".join(line + line for line in lines)
        yield f"{name}-twice", good + good
        yield f"{name}-again", b"".join([*lines[: here + 5], *lines[here:]])
        yield f"{name}-lost", b"".join([*lines[:here], *lines[here + 1 :]])
        yield f"{name}-gap", b"".join([*lines[:here], *lines[here + 100 :]])
        yield f"{name}-thinned", b"".join(line for line in lines if rng.random() > 0.3)
        yield f"{name}-turned", b"".join(lines[::-1])
        yield f"{name}-joined", good.replace(b"\n", b" ")
        yield f"{name}-parted", good.replace(b"\n", b"\n\n\n")


def encodings(rng):
    for name in ("example", "xPDFsuite"):
        text = GOOD[name].decode() + "# Ångström\n"
        for code in ("utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037"):
            yield f"{name}-{code}", text.encode(code)
        yield f"{name}-crlf", text.encode().replace(b"\n", b"\r\n")
        yield f"{name}-cr", text.encode().replace(b"\n", b"\r")
        yield f"{name}-null", text.encode().replace(b"\n", b"\0\n", 5)
        yield f"{name}-late-null", text.encode() + b"\0\0\0"
        yield f"{name}-escape", b"\x1b[2J\x07" * 3 + text.encode()
        yield f"{name}-arabic", text.translate({48 + i: 0x660 + i for i in range(10)}).encode()
        yield f"{name}-minus", text.replace("-", "\N{MINUS SIGN}").encode()
        yield f"{name}-space", text.replace(" ", "\N{NO-BREAK SPACE}").encode()


def spoiled_numbers(rng):
    lines = rows(R, G).splitlines()
    words = [*"nan NaN inf -inf 1e400 -1e400 1e300 1e-320 -7 **** 0x10 1_000 -- 1,5 1e 1d400".split(), ""]
    for word, column, count in product(words, (0, 1), (1, 400)):
        broken = lines.copy()
        for place in rng.choice(len(lines), count, replace=False):
            broken[place] = " ".join(word if i == column else x for i, x in enumerate(lines[place].split()))
        yield f"{word or 'none'}-{column}-{count}", (PROGRAMS["example"] + "\n".join(broken) + "\n").encode()


def spoiled_headers(rng):
    values = ("-1", "nan", "inf", "0", "1e9", "1e-9", "1e400", "many words", "22 1/A", "22,0", "x" * 100_000, "\x1b[2J")
    for name, value in product(("qmin", "qmax", "qdamp", "qbroad", "rmin", "rmax", "rstep", "composition"), values):
        header = re.sub(rf"(?m)^{name} = .*\n|^\[DEFAULT\]", f"{name} = {value}\n", PROGRAMS["example"])
        yield f"{name}-{values.index(value)}", (header + rows(R, G)).encode()
    for number, line in enumerate(
        ("qmax = 0.5\nqmin = 1", "qmax = 22\nqmin = 21.9", "qmax = 22\nqmin = 22", "outputtype = sq", "outputtype = ",
         "= = = =", "qmax", "[" * 50_000, "a = b" + " " * 200_000 + "c", "a" * 500_000, "# " * 200_000, "\n" * 50_000,
         "#\n" * 50_000, "a = b " * 50_000, "Q" + " " * 200_000 + "x", "r" + ",/( " * 50_000, "1 " * 200_000)
    ):  # fmt: skip
        yield f"line-{number}", (PROGRAMS["example"] + line + "\n" + rows(R, G)).encode()


def refused(rng):
    """Yield what holds no G(r) in Å: other units, other curves, other files."""
    header = PROGRAMS["example"]
    wave = np.sin(3 * R)
    labels = (
        "#L r(nm) G", "# r [nm], G", "r_nm G", "#L Q($\\AA^{-1}$) S(a.u.)", "# Q F(Q)", "Q/A^-1 F", "# q_A^-1 I", "Q,I",
        "# 2theta I", "2-Theta Angle (Degrees)", "# 2th_deg I", "TwoTheta Intensity", "tth,I", "#L Q  Intensity",
        "q (1/nm), I(q)", "# 2θ I", "Angle (deg)  I",
    )  # fmt: skip
    for number, label in enumerate(labels):
        yield f"label-{number}", (header + label + "\n" + rows(R, G)).encode()
    curves = {
        "s": (R, 1 + 0.1 * G), "i": (R, 100 * np.exp(-R) + 5 + wave), "f0": (R, np.exp(-(R**2))), "flat": (R, 0 * R),
        "ones": (R, 0 * R + 1), "nm": (R / 10, G), "m": (R * 1e-10, G), "pm": (R * 100, G), "coarse": (R * 10, G),
        "far": (R * 1e300, G), "near": (R * 1e-300, G), "denormal": (R * 1e-310, G), "below": (R - 5, G),
        "falling": (R[::-1], G[::-1]), "repeated": (np.round(R, 1), G), "one": (0 * R, G), "log": (R**2, G),
        "huge": (R, G * 1e300), "large": (R, G * 1e20), "tiny": (R, G * 1e-300), "small": (R, G * 1e-20),
        "fine": (R * 1e-7, G), "degrees": (R * 6, 1e4 * np.exp(-R / 9) * (1 + wave**2)), "swapped": (G, R),
        "noise": (R, rng.normal(size=R.size)), "short": (R[:50], G[:50]), "start": (R[R > 25], G[R > 25]),
    }  # fmt: skip
    for name, (r, g) in curves.items():
        yield f"curve-{name}", (header + rows(r, g)).encode()
    dense = np.arange(0, 30, 1e-5)[:70_000]
    yield "dense", (header + rows(dense, np.sin(dense))).encode()
    yield "long", (header + "1 2\n" * 500_000).encode()
    yield "comma-space", (header + rows(R, G).replace(".", ",")).encode()
    yield "comma-semicolon", (header + rows(R, G, ";").replace(".", ",")).encode()
    yield "comma-comma", (header + rows(R, G, ",").replace(".", ",")).encode()
    yield "one-column", header.encode() + b"\n".join(b"%.6g" % x for x in G)
    yield "one-line", header.encode() + b" ".join(b"%.6g" % x for x in G)
    yield "ten-lines", header.encode() + b"\n".join([b"1 " * 100_000] * 10)
    yield "digits", header.encode() + b"\n".join([b"1" * 100_000 + b" 1"] * 10)
    yield "zip", _archive()
    yield "png", b"\x89PNG\r\n\x1a\n" + rng.bytes(5000)
    yield "random", rng.bytes(20_000)
    yield "letters", rng.choice(np.frombuffer(b"abc \n", np.uint8), 20_000).tobytes()
    yield "empty", b""
    yield "blank", b"\n \t\r\n" * 1000
    yield "header", header.encode()
    yield "html", b"<!DOCTYPE html>\n<html><body>404</body></html>\n"
    yield "xyz", b"3\n\nAg 0 0 0\nAg 0 0 3\nAg 0 3 0\n"
    yield "nine", (header + "".join(f"{i} {-i}\n" for i in range(9))).encode()
    yield "rising", (header + rows(R, R)).encode()


def structures(rng):
    """Yield spoiled clusters, and whether they may be read."""
    stream = io.StringIO()
    ase.io.write(stream, Icosahedron("Ag", 3), format="extxyz", columns=["symbols", "positions"])
    good = stream.getvalue()
    lines = good.splitlines(keepends=True)
    far = lines[2].replace("0.0", "1e300", 1)
    for place in rng.integers(1, len(good), 8):
        yield f"end{place}", good[:place], True
        yield f"start{place}", good[place:], True
    for count in (1, 3, 10, 30):
        places = np.sort(rng.choice(len(good), count, replace=False))
        array = np.frombuffer(good.encode(), np.uint8)
        typed = rng.choice(np.frombuffer(b'0123456789.-+eE :="\nAgX', np.uint8), count)
        changed = array.copy()
        changed[places] = typed
        yield f"{count}changed", changed.tobytes(), True
        yield f"{count}inserted", np.insert(array, places, typed).tobytes(), True
        yield f"{count}removed", np.delete(array, places).tobytes(), True
    for number, count in enumerate(
        ("0", "-5", "5", "56", "1000000000", "1_000_000_000", "+2000000000", "9" * 5000, "9" * 30, "5.5", "nan", "")
    ):
        yield f"count{number}", good.replace("55", count, 1), False
    yield "frame", good + "1000000000\n\nAg 0 0 0\n", False
    yield "frames", good + good, True
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
    yield "zip", _archive(), False
    yield "trajectory", b"- of UlmASE-Trajectory" + rng.bytes(200), False
    yield "xml", "<modeling><", False
    yield "json", '{"1": {', False
    yield "wide", good.encode("utf-16"), False
    yield "shuffled", "".join(lines[i] for i in rng.permutation(len(lines))), False
    yield "curve", GOOD["example"], False
    yield "far", "".join([*lines[:2], far, *lines[3:]]), False


def _archive():
    stream = io.BytesIO()
    np.savez(stream, r=R, g=G)
    return stream.getvalue()


KINDS = {
    "cut": cut,
    "bytes": spoiled_bytes,
    "lines": spoiled_lines,
    "encoding": encodings,
    "number": spoiled_numbers,
    "header": spoiled_headers,
    "refused": refused,
}


def made(kind):
    return list(KINDS[kind](np.random.default_rng(list(KINDS).index(kind))))


@pytest.mark.parametrize("kind", KINDS)
def test_a_spoiled_file_is_the_curve_it_holds_or_refused_in_one_line(kind, tmp_path):
    given, read = made(kind), 0
    for name, raw in given:
        path = tmp_path / f"{name}.gr"
        path.write_bytes(raw)
        begun = time.process_time()
        try:
            with warnings.catch_warnings(action="error"):
                found = resolved(gr.read(path), DataOptions(), bond=BOND)
        except ReadError as error:
            assert_told(error, path)
        else:
            read += 1
            assert_sane(found, name, exact=kind in EXACT)
        assert time.process_time() - begun < 10, name  # no hang
    assert len(given) >= 30 and (read == 0 if kind == "refused" else read > len(given) / 10), (len(given), read)


def test_there_are_over_five_hundred_and_a_seed_gives_the_same():
    given = [raw for kind in KINDS for _, raw in made(kind)]
    assert len(given) > 500 and given == [raw for kind in KINDS for _, raw in made(kind)]


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.gr", tmp_path / "a" / "none.gr", Path("/dev/null"), tmp_path / ("x" * 300)):
        with pytest.raises(ReadError) as error:
            gr.read(path)
        assert_told(error.value, path)
    (tmp_path / "loop.gr").symlink_to(tmp_path / "loop.gr")
    with pytest.raises(ReadError, match="does not exist"):
        gr.read(tmp_path / "loop.gr")


def test_a_spoiled_cluster_is_read_or_refused_in_one_line(tmp_path):
    given, read = list(structures(np.random.default_rng(0))), 0
    for name, raw, may in given:
        path = tmp_path / f"{name}.xyz"
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        begun = time.process_time()
        try:
            with warnings.catch_warnings(action="error"):
                found = atoms.read_cluster(path)
        except ValueError as error:
            assert_told(error, path)
        else:
            read += 1
            assert may and np.isfinite(found.positions).all() and 2 <= len(found) <= 56, name
            assert found.get_all_distances().max() < 1000, name
        assert time.process_time() - begun < 10, name  # no hang
    assert len(given) >= 60 and read >= 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A sample of all kinds, few readable, the example, a folder and no file; by path, whether it is readable."""
    place = tmp_path_factory.mktemp("spoiled")
    found = {}
    for kind in KINDS:
        given, good = made(kind), 0
        for name, raw in given[:: max(1, len(given) // 20)]:
            path = place / f"{kind}-{name}.gr"
            path.write_bytes(raw)
            covered = _covered(path)
            good += bool(covered) and kind in ("cut", "encoding", "header")
            if covered is None or (covered and good == 1):  # whole curves, for they share compilations
                found[path] = covered is not None
                good += found[path]
    (place / "empty.gr").mkdir()
    (place / "good.gr").write_bytes(EXAMPLE.read_bytes())
    return found | {place / "empty.gr": False, place / "none.gr": False, place / "good.gr": True}


def test_a_folder_of_spoiled_files_has_a_row_for_each_and_the_good_an_answer(folder, tmp_path, capfd):
    assert run("mine", *folder, *FEW, "-o", tmp_path) == 3
    printed = capfd.readouterr()
    assert "Traceback" not in printed.out + printed.err and "Warning" not in printed.err
    found = {row["file"]: row for row in table(tmp_path / "summary.csv")}
    assert list(found) == [str(path) for path in folder] and len(found) > 60
    for path, readable in folder.items():
        row = found[str(path)]
        assert row["status"] == ("weak" if readable else "failed"), row
        if readable:
            assert 0 < float(row["rw"]) < 1.1 and (tmp_path / "best" / f"{path.stem}.xyz").exists()
        else:
            assert row["message"].startswith("Expected ") and row["message"].endswith("."), row
            assert f"{path}: failed: {row['message']}\n" in printed.out
    assert sum(folder.values()) == 4


def test_in_a_process_of_its_own_too(folder, tmp_path):
    some = [path for path in folder if not folder[path] or path.stem == "good"][::5]
    words = [sys.executable, "-m", "jaxstruc", "mine", *some, *FEW, "-o", tmp_path]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3 and "Traceback" not in done.stdout + done.stderr
    assert len(table(tmp_path / "summary.csv")) == len(some)


def test_a_lone_bad_file_is_refused_in_one_line(folder, tmp_path, capfd):
    for path in [path for path, readable in folder.items() if not readable][::4]:
        assert run("mine", path, *FEW, "-o", tmp_path / "out") == 2
        error = capfd.readouterr().err
        assert error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "more", "message"),
    [
        ("x.dat", "# Q (1/A)  I (1/cm)\n", (), "pass it to jaxstruc saxs"),
        ("x.iq", "", (), "pass it to jaxstruc saxs"),
        ("x.sq", "", (), "pass --q-unit 1/A"),
        ("x.sq", "", ("--q-unit", "2theta"), "pass --wavelength"),
        ("x.sq", "", ("--q-unit", "1/A", "--qmax", 90), "within the data"),
        ("x.dat", "", ("--q-unit", "1/A"), "pass --kind sq or --kind fq"),
        ("x.dat", "", ("--q-unit", "1/A", "--kind", "fq"), "swings about 0"),
    ],
)
def test_a_curve_over_q_that_leads_to_no_pdf_is_refused_in_one_line(name, text, more, message, tmp_path, capfd):
    path = tmp_path / name
    path.write_text(text + "".join(f"{0.1 * place} {1 + 1 / place}\n" for place in range(1, 200)))
    assert run("mine", path, *FEW, *more, "-o", tmp_path / "out") == 2
    error = capfd.readouterr().err
    assert (
        error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error and message in error
    )
    assert not (tmp_path / "out").exists()


def test_a_bad_cluster_is_refused_in_one_line(tmp_path, capfd):
    for name, raw, may in list(structures(np.random.default_rng(0)))[::3]:
        if not may:
            path = tmp_path / f"{name}.xyz"
            path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
            assert run("refine", path, EXAMPLE, "-o", tmp_path / "out") == 2
            error = capfd.readouterr().err
            assert error.startswith("jaxstruc: Expected ") and error.count("\n") == 1 and str(path) in error
    assert not (tmp_path / "out").exists()


def _covered(path):
    """Return whether a file holds the range that is fitted, or None where it is refused."""
    try:
        r = prepared(gr.read(path), Plan("Ag", ())).r
    except ValueError:
        return None
    return r[0] < 1.5 and r[-1] > 20


def assert_told(error, path):
    """One sentence, not long, that names the file."""
    assert_one_sentence(SimpleNamespace(value=error))
    assert str(path) in str(error) and len(str(error)) < 300 + len(str(path)), error


def assert_sane(found, name, *, exact):
    """A grid of finite numbers and settings; and the numbers that were there, but for one of a hundred."""
    (r, g), given = found.curve, found.given
    assert np.isfinite([found.r, found.g]).all() and np.isfinite(list(given.values())).all(), name
    assert 0 <= r[0] and r[-1] <= 500 and np.ptp(np.diff(r)) < 0.4 * given["rstep"] and len(r) == len(g) >= 10, name
    assert 0 <= given["qmin"] < given["qmax"] <= 100 and 0 <= given["qdamp"] <= 1, name
    assert sum(map(len, found.warnings)) < 500 and all(text.isprintable() for text in found.warnings), name
    if exact:
        nearest = np.abs(found.r[:, None] - R).argmin(axis=1)
        assert np.mean((found.r == R[nearest]) & (found.g == G[nearest])) > 0.97, name
