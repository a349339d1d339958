import h5py
import numpy as np
import pytest
from measurement_files import assert_one_sentence

from jaxstruc.io import isolated_process
from jaxstruc.io.columns import ReadError


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as hdf5_file:
        hdf5_file["here"] = np.arange(6.0).reshape(2, 3)
        hdf5_file.attrs.update(
            {"one": "a, b:c", "bytes": np.bytes_("d"), "list": ["e f", "g"], "number": 3, "none": ""}
        )
        hdf5_file.attrs["long"] = np.zeros(2**12)
        yield hdf5_file


def test_attributes_are_words_however_they_are_written(file):
    assert isolated_process.attribute_parts(file, "one") == ["a", "b", "c"] and isolated_process.attribute_parts(
        file, "list"
    ) == [
        "e",
        "f",
        "g",
    ]
    assert isolated_process.attribute_text(file, "missing", "none", "bytes") == "d"
    assert (
        isolated_process.attribute_parts(file, "number")
        == isolated_process.attribute_parts(file, "long")
        == isolated_process.attribute_parts(file, "missing")
        == []
    )


def test_a_part_of_a_dataset_comes_in_double_precision(file, tmp_path):
    values = isolated_process.read_numbers(file["here"], (1, slice(None)), tmp_path)
    assert values.dtype == np.float64 and values.tolist() == [3.0, 4.0, 5.0]


def test_nothing_outside_the_file_is_opened(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other_file:
        other_file["secret"] = np.arange(3.0)
    file["link"] = h5py.ExternalLink("other.h5", "secret")
    layout = h5py.VirtualLayout(shape=(3,), dtype="f8")
    layout[:] = h5py.VirtualSource("other.h5", "secret", shape=(3,))
    file.create_virtual_dataset("virtual", layout)
    external_dataset = file.create_dataset("external", (3,), "f8", external=[("raw", 0, 24)])
    assert isolated_process.get_member(file, "link") is None and isolated_process.get_member(file, "none") is None
    for dataset in (file["virtual"], external_dataset):
        with pytest.raises(ReadError, match=r"numbers in the file, got links to other files in .*; copy") as error:
            isolated_process.read_numbers(dataset, (slice(None),), tmp_path / "x.h5")
        assert_one_sentence(error)


def test_blocks_that_would_fill_the_memory_are_refused(file, tmp_path):
    dataset = file.create_dataset("large", (2**25,), "f8", chunks=(2**25,), compression="gzip")
    with pytest.raises(ReadError, match=r"chunks of at most 64 MB, got 256 MB in .*; write smaller chunks"):
        isolated_process.read_numbers(dataset, (slice(0, 3),), tmp_path)


def test_what_is_broken_or_no_hdf5_is_one_line(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"no more")
    with (
        pytest.raises(ReadError, match=r"Expected HDF5, got .*x.h5, which is damaged or not HDF5") as error,
        isolated_process.open_hdf5(path),
    ):
        pass
    assert_one_sentence(error)
    with (
        pytest.raises(ReadError, match=r"a curve file, got .*none.h5, which does not exist"),
        isolated_process.open_hdf5(tmp_path / "none.h5"),
    ):
        pass
