"""HDF5 files of strangers, opened so that damage is an error of one line, and nothing outside the file is read."""

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from jaxstruc.data.text import CURVE_RULES, ReadError, expect, raw_bytes

MAX_FILE_BYTES = 64 * 2**20
"""Bytes of a file."""
MAX_BLOCK_BYTES = 64 * 2**20
"""Bytes of numbers that are unpacked at once."""
MAX_ATTRIBUTE_BYTES = 2**14
"""Bytes of an attribute."""
DAMAGE_ERRORS = (OSError, RuntimeError, KeyError, IndexError, ValueError, TypeError, OverflowError, MemoryError)
"""What h5py raises where a file is damaged."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""The first bytes of a file."""
SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")
"""Endings of such files."""


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[tuple[h5py.File, str]]:
    """Yield a file and its checksum.

    Raises:
        ReadError: where it cannot be opened, and for whatever h5py finds wrong while it is open.
    """
    checksum = hashlib.sha256(raw_bytes(path, CURVE_RULES, max_bytes=MAX_FILE_BYTES)).hexdigest()
    try:
        with h5py.File(path, "r") as file:
            yield file, checksum
    except ReadError:
        raise
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split())[:100].replace("?", "")
        raise ReadError(f"Expected HDF5, got {path}, which is broken or none ({reason}); export it again.") from error


def get_member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a name in a group stands for, None where it is not there or lies in another file."""
    link = group.get(name, getlink=True)
    return None if link is None or isinstance(link, h5py.ExternalLink) else group.get(name)


def read_numbers(data: h5py.Dataset, selection: tuple[int | slice, ...], path: Path) -> np.ndarray:
    """Return a part of a dataset in double precision.

    Raises:
        ReadError: where it lies in other files, or in blocks that fill the memory once unpacked.
    """
    is_inside_file = not data.is_virtual and not data.external
    expect(is_inside_file, f"numbers in the file, got links to others in {path}; copy them")
    block_bytes = math.prod(data.chunks or ()) * data.dtype.itemsize
    expect(
        block_bytes <= MAX_BLOCK_BYTES,
        f"blocks of at most {MAX_BLOCK_BYTES >> 20} MB, got {block_bytes >> 20} in {path}; write smaller chunks",
    )
    return np.asarray(data[selection], np.float64)


def attribute_words(holder: h5py.Group | h5py.Dataset, *names: str) -> list[str]:
    """Return the words of the first of some attributes that has any; it may be a list, or parted by commas."""
    for name in names:
        if name in holder.attrs and (words := _split_attribute(holder, name)):
            return words
    return []


def attribute_text(holder: h5py.Group | h5py.Dataset, *names: str) -> str:
    """Return such words as one text."""
    return " ".join(attribute_words(holder, *names))


def _split_attribute(holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    attribute = holder.attrs.get_id(name)
    if attribute.shape is None or math.prod(attribute.shape) * attribute.dtype.itemsize > MAX_ATTRIBUTE_BYTES:
        return []
    value = holder.attrs[name]
    parts = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    texts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts]
    return [word for text in texts if isinstance(text, str) for word in re.split(r"[\s,:]+", text) if word]
