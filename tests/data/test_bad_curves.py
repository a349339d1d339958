"""Hundreds of spoiled files of curves over Q: each is read as a sound curve, or refused in one line that names it."""

import time
import warnings
from itertools import product
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from curves import DQ, SIGMA, I, Q, columns, entry, nxcansas, xml
from written import assert_one_sentence

from jaxstruc.data import apart, formats, points, sine
from jaxstruc.data.text import ReadError
from jaxstruc.options.pdf import DataOptions

SWING = 1 + 0.3 * np.sin(60 * Q)
TEXTS = {
    "x.dat": columns(Q, I, SIGMA, DQ, head="# Q (1/A)  I (1/cm)  sigma  dQ\n"),
    "x.txt": columns(Q, I, SIGMA),
    "y.txt": columns(Q, np.sin(60 * Q)),
    "x.chi": columns(10 * Q, I, head="image.tif\nQ (Inverse Nanometres)\nIntensity\n 80\n"),
    "x.ABS": columns(Q, I, SIGMA, DQ, Q, 0 * Q, head="The 6 columns are | Q (1/A) | I | dI | sigmaQ | mean | s |\n"),
    "x.csv": columns(Q, I, SIGMA, separator=",", head='"Q (1/Å)","I (1/cm)","error"\n'),
    "x.sq": columns(Q, SWING, head="outputtype = sq\n#L Q($\\AA^{-1}$)  S(a.u.)\n"),
    "x.xml": xml(),
}  # fmt: skip
TYPED = np.frombuffer(b'0123456789.-+eE ,;#=\n\t<>/"&qrnmA', np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _ended():
    yield
    apart._end()


def spoiled(raw, rng, *, rounds):
    """Yield a file cut, with bytes changed, put in and left out, its lines turned, doubled and shuffled."""
    array = np.frombuffer(raw, np.uint8)
    for place in rng.integers(1, len(raw), 2 * rounds):
        yield raw[:place]
        yield raw[place:]
    for count, other in product((1, 5, 50), range(rounds)):
        places = np.sort(rng.choice(len(raw), count, replace=False))
        new = rng.choice(TYPED, count) if other % 2 else rng.integers(0, 256, count, dtype=np.uint8)
        changed = array.copy()
        changed[places] = new
        yield changed.tobytes()
        yield np.insert(array, places, new).tobytes()
        yield np.delete(array, places).tobytes()


def reordered(raw, rng):
    """Yield a text with its lines in another order."""
    lines = raw.splitlines(keepends=True)
    yield b"".join(lines[::-1])
    yield b"".join(line + line for line in lines)
    yield b"".join(lines[place] for place in rng.permutation(len(lines)))
    yield b"".join([*lines[:30], *lines[20:]])
    yield raw + raw
    yield raw.replace(b"\n", b" ")
    for word in (b"nan", b"inf", b"-7", b"1e400", b"1e-320", b"1e300", b"****", b"0", b"1,5", b""):
        yield raw.replace(b" 0.0", b" " + word, 1)
        yield raw.replace(b" 0.0", b" " + word)
    for code in ("utf-16", "utf-32", "cp037", "utf-7"):
        yield raw.decode().encode(code)


def checked(path, **given):
    """Return whether a file is read, as a sound curve; else it is refused in one line."""
    begun = time.process_time()
    try:
        with warnings.catch_warnings(action="error"):
            found = formats.read(path, **given)
            if found.kind in ("sq", "fq"):
                assert np.isfinite(sine.pdf(found, DataOptions()).g).all()
            elif found.kind == "iq":
                found = points.resolved(found)
    except ReadError as error:
        assert_one_sentence(SimpleNamespace(value=error))
        assert str(path) in str(error) and len(str(error)) < 300 + len(str(path)), error
        return False
    finally:
        assert time.process_time() - begun < 5
    if found.kind != "gr":
        assert found.q[0] > 0 and (np.diff(found.q) > 0).all() and np.isfinite([found.q, found.intensity]).all()
        assert found.sigma is None or (np.isfinite(found.sigma) & (found.sigma > 0)).all()
        assert found.dq is None or (np.isfinite(found.dq) & (found.dq >= 0)).all()
        assert len(found.q) >= 10 and all(text.isprintable() for text in found.warnings)
    return True


@pytest.mark.parametrize("name", TEXTS)
def test_a_spoiled_text_is_read_or_refused_in_one_line(name, tmp_path):
    rng, raw, read = np.random.default_rng(len(name)), TEXTS[name].encode(), []
    path = tmp_path / name
    for number, bad in enumerate([*spoiled(raw, rng, rounds=4), *reordered(raw, rng)]):
        path.write_bytes(bad)
        read.append(checked(path, q_unit=None if number % 3 else "1/A"))
    assert len(read) > 70 and 1 < sum(read) < len(read) - 9


@pytest.mark.parametrize("old", [False, True])
def test_a_spoiled_hdf5_file_is_read_or_refused_in_one_line(old, tmp_path, monkeypatch):
    monkeypatch.setattr(apart, "LONGEST", 5.0)
    path = nxcansas(tmp_path / "x.h5", old=old)
    raw, rng, read = path.read_bytes(), np.random.default_rng(old), []
    for bad in spoiled(raw, rng, rounds=6):
        path.write_bytes(bad)
        read.append(checked(path, q_unit="1/A"))
    assert len(read) > 70 and 1 < sum(read) < len(read) - 9


def test_other_files_with_such_endings_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    others = (
        b"",
        b" \n",
        b"\0" * 100,
        rng.bytes(3000),
        b"<html/>",
        b"<?xml version='1.0'?><a/>",
        b"PK\3\4" + rng.bytes(50),
    )
    for name, raw in product(("x.dat", "x.chi", "x.xml", "x.h5", "x.sq", "x.nxs"), others):
        path = tmp_path / name
        path.write_bytes(raw)
        assert not checked(path, q_unit="1/A"), (name, raw[:10])


def test_a_gr_that_is_none_is_refused_as_ever(tmp_path):
    """Its ending says what was meant; of these only the one that swings about 0 may be one."""
    for name, text in TEXTS.items():
        path = tmp_path / f"{name}.gr"
        path.write_text(text)
        assert checked(path) == (name == "y.txt"), name


def test_deep_and_wide_files_take_no_time(tmp_path):
    for number, head in enumerate(
        ("Q" + " " * 200_000 + "x\n", "Q(" * 50_000 + "\n", "Q (1/A) I" + "[" * 1900 + "\n", "| " * 900 + "\n",
         "#\n" * 50_000, ("Q" + "/ " * 900 + "\n") * 300, ("Q (1/A), " * 200 + "\n") * 300)
    ):  # fmt: skip
        path = tmp_path / f"{number}.dat"
        path.write_text(head + columns(Q, I))
        checked(path, q_unit="1/A")
    path = tmp_path / "deep.xml"
    path.write_text("<?xml version='1.0'?>" + "<a>" * 100_000 + "</a>" * 100_000)
    assert not checked(path)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        group = entry(file).parent
        for number in range(300):
            group.create_group(str(number))["back"] = h5py.SoftLink("/entry")
        file["entry/self"] = h5py.SoftLink("/")
    assert checked(tmp_path / "wide.h5")
