import time

import h5py
import numpy as np
import pytest
from measurement_files import assert_one_sentence
from q_curve_files import DQ, SIGMA, I, Q, assert_curve, write_nxcansas, write_nxcansas_entry

from jaxstruc.io import isolated_process, nxcansas
from jaxstruc.io.columns import ReadError

FRAMES = np.arange(1, 4)[:, None] * I


@pytest.fixture(scope="module", autouse=True)
def _end_reader_process():
    yield
    isolated_process._end_process()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.h5"


@pytest.mark.parametrize("old_attributes", [False, True])
def test_a_curve_comes_back_with_its_units_in_the_new_form_and_the_old(path, old_attributes):
    measurement = nxcansas.read(write_nxcansas(path, old_attributes=old_attributes))
    assert_curve(measurement)
    assert measurement.format == "NXcanSAS, Q in 1/Å from the header" and measurement.header == {"title": "entry/data"}
    assert measurement.settings == measurement.warnings == () and len(measurement.sha256) == 64


def test_units_are_those_of_the_file_and_arbitrary_stays_so(path):
    measurement = nxcansas.read(write_nxcansas(path, q_unit="1/nm", intensity_unit="Counts", sigma=None, dq=None))
    assert_curve(measurement, q=Q / 10, sigma=None, dq=None, intensity_unit="arbitrary")
    assert nxcansas.read(write_nxcansas(path, q_unit="1/m", intensity_unit="", q=1e10 * Q)).intensity_unit == ""
    assert nxcansas.read(write_nxcansas(path, q_unit=""), q_unit="1/nm").q[0] == pytest.approx(Q[0] / 10)


@pytest.mark.parametrize(
    ("shape", "entry_options"),
    [
        ("frames first", {"intensity": FRAMES, "axes": ["Time", "Q"], "sigma": 0.02 * FRAMES}),
        ("frames first, one error", {"intensity": FRAMES, "axes": "Time,Q"}),
        ("frames last", {"intensity": FRAMES.T, "axes": ["Q", "Time"]}),
        (
            "a Q for each",
            {"intensity": FRAMES, "axes": ["Time", "Q"], "q": np.tile(Q, (3, 1)), "dq": np.tile(DQ, (3, 1))},
        ),
    ],
)
def test_of_many_frames_one_is_asked_for_and_is_the_right_one(path, shape, entry_options):
    write_nxcansas(path, **entry_options)
    with pytest.raises(
        ReadError, match=r"one curve, got 3 in .*\(1 entry/data\[0\], 2 .*\); pass --frame with the number"
    ) as error:
        nxcansas.read(path)
    assert_one_sentence(error)
    measurement = nxcansas.read(path, frame=2)
    np.testing.assert_array_equal(measurement.intensity, 2 * I)
    np.testing.assert_array_equal(measurement.sigma, 0.04 * I if shape == "frames first" else SIGMA)
    np.testing.assert_array_equal([measurement.q, measurement.dq], [Q, DQ])
    assert measurement.settings == (("frame", 2.0, "command line"),)


def test_all_curves_of_a_file_are_read_and_a_bad_one_is_reported_in_its_place(path):
    with h5py.File(path, "w") as file:
        write_nxcansas_entry(file.create_group("a"))
        write_nxcansas_entry(file.create_group("b"), sigma=-SIGMA)
        write_nxcansas_entry(file.create_group("c"), intensity=FRAMES, axes=["Time", "Q"])
        write_nxcansas_entry(file.create_group("d"), q=Q[:40])
        file["notes"] = "text"
    measurements = nxcansas.read_all(path)
    assert [isinstance(measurement, ReadError) for measurement in measurements] == [
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert "sigma above 0" in str(measurements[1]) and "as many I as Q" in str(measurements[5])
    assert [
        measurement.settings[-1].value for measurement in measurements if not isinstance(measurement, ReadError)
    ] == [1, 3, 4, 5]
    np.testing.assert_array_equal(measurements[4].intensity, nxcansas.read(path, frame=5).intensity)


def test_a_curve_to_which_several_links_lead_is_one(path):
    with h5py.File(path, "w") as file:
        data = write_nxcansas_entry(file)
        file["entry/again"] = h5py.SoftLink("/entry/data")
        file["entry/hard"] = data
    assert nxcansas.read(path).settings == ()


def write_two_dimensional_data(file):
    write_nxcansas_entry(file, intensity=np.ones((30, 30)), q=np.ones((30, 30)), sigma=None, dq=None, axes=["Qx", "Qy"])


def write_slit_widths(file):
    data = write_nxcansas_entry(file, dq=None)
    data["dQl"], data["dQw"] = 0 * Q + 0.1, 0 * Q
    data["Q"].attrs["resolutions"] = "dQw,dQl"


def write_external_link(file):
    write_nxcansas_entry(file)
    del file["entry/data/I"]
    file["entry/data/I"] = h5py.ExternalLink("other.h5", "I")


def write_text_intensity(file):
    write_nxcansas_entry(file)
    del file["entry/data/I"]
    file["entry/data/I"] = ["a"] * 80


def write_link_loop(file):
    file["here"] = h5py.SoftLink("/")


@pytest.mark.parametrize(
    ("write_content", "message"),
    [
        (lambda file: None, "NXcanSAS, got HDF5 without a SASdata group in .*; export"),
        (write_link_loop, "got HDF5 without a SASdata group"),
        (write_two_dimensional_data, r"I\(Q\), got I over two axes of Q in .*; average I"),
        (write_slit_widths, "without slit smearing, got slit widths in .*; desmear"),
        (write_external_link, "a dataset 'I' of numbers in SASdata, got none in"),
        (write_text_intensity, "a dataset 'I' of numbers in SASdata, got none in"),
        (lambda file: write_nxcansas_entry(file, q_unit=""), "the unit of Q in the file or the command"),
        (lambda file: write_nxcansas_entry(file, q=Q[:7]), r"as many I as Q, got shapes \(80,\) and \(7,\)"),
        (
            lambda file: write_nxcansas_entry(file, q=Q[:7], intensity=I[:7], sigma=None, dq=None),
            "10 to 60000 points, got 7",
        ),
        (lambda file: write_nxcansas_entry(file, sigma=SIGMA[:7]), "80 values of 'Idev', got"),
        (
            lambda file: write_nxcansas_entry(file, sigma=0 * SIGMA - 1),
            "sigma above 0 .* got -1 at point 1 of .*, the first of 80",
        ),
        (
            lambda file: write_nxcansas_entry(file)["Idev"].attrs.update(units="1/m"),
            "Idev in the unit of I, got 1/m and 1/cm",
        ),
        (
            lambda file: write_nxcansas_entry(file, intensity=np.ones((0, 80)), sigma=None, axes=["Time", "Q"]),
            "a curve, got none",
        ),
        (
            lambda file: write_nxcansas_entry(file, intensity=np.float64(3), q=np.float64(3), sigma=None, dq=None),
            "as many I as Q",
        ),
    ],
)
def test_what_is_no_curve_is_refused_in_one_line(path, write_content, message):
    with h5py.File(path, "w") as file:
        write_content(file)
    with pytest.raises(ReadError, match=message) as error:
        nxcansas.read(path)
    assert_one_sentence(error)


def test_sasdata_reads_the_same_numbers(path):
    """Compare with sasdata 0.11.0, which reads the same numbers from a file written here."""
    loader = pytest.importorskip("sasdata.dataloader.loader")
    (reference,), measurement = loader.Loader().load(str(write_nxcansas(path))), nxcansas.read(path)
    for name, column in (
        ("x", measurement.q),
        ("y", measurement.intensity),
        ("dy", measurement.sigma),
        ("dx", measurement.dq),
    ):
        np.testing.assert_allclose(column, getattr(reference, name), rtol=1e-15, err_msg=name)


def test_a_file_that_would_take_minutes_is_given_up(tmp_path):
    """A few kilobytes can stand for 50 000 curves of 60 000 points, which are zero."""
    assert isolated_process.MAX_SECONDS < 15
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = write_nxcansas_entry(
            file, intensity=None, q=np.linspace(0.01, 1, 60_000), sigma=None, dq=None, axes="Time,Q"
        )
        data.create_dataset("I", (50_000, 60_000), "f4", chunks=(1000, 1000))
    start_time = time.monotonic()
    with pytest.raises(ReadError, match=r"a file that is read within 1\.5 s, got .* took longer") as error:
        isolated_process.call(nxcansas.read_curves, tmp_path / "x.h5", None, True, max_seconds=1.5)
    assert_one_sentence(error)
    assert time.monotonic() - start_time < 15
