"""Reading of HDF5 files in a process of its own, so that a damaged file cannot harm the program.

A library that crashes or hangs on a damaged file takes only that process with it. The process is started with the
first such file, serves the next ones too, and ends with this one. It answers with data alone, JSON and arrays: a file
that takes it over can make it give wrong numbers, but nothing that the file holds is run here. Whatever HDF5 finds
damaged is an error of one line, and nothing outside the file is read.
"""

import atexit
import builtins
import contextlib
import hashlib
import importlib
import io
import json
import math
import os
import re
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from jaxstruc.io.columns import CURVE_RULES, ReadError, expect, raw_bytes

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
MAX_SECONDS = 60.0
"""Seconds for one file."""
MAX_ANSWER_BYTES = 2**30
"""Bytes of an answer."""
ARRAY_KEY, ERROR_KEY = "$array", "$raised"
"""Keys of an answer's text that stand for an array beside it, and for an error."""
_LOCK = threading.Lock()


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


def attribute_parts(holder: h5py.Group | h5py.Dataset, *names: str) -> list[str]:
    """Return the words of the first of some attributes that has any; it may be a list, or parted by commas."""
    for name in names:
        if name in holder.attrs and (parts := _split_attribute(holder, name)):
            return parts
    return []


def attribute_text(holder: h5py.Group | h5py.Dataset, *names: str) -> str:
    """Return such words as one text."""
    return " ".join(attribute_parts(holder, *names))


def call(function: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    """Return what a function of a module returns for a file, tuples as lists; the path is given as text.

    Args:
        function: that returns text, numbers, None, arrays and errors, and lists, tuples and dictionaries of them.
        path: of the file.
        arguments: arguments, as JSON has them.

    Raises:
        ReadError: as the function does, or where it crashes or takes too long.
    """
    with _LOCK:
        if _worker_process().poll() is not None:
            _end_process()
        process: Any = _worker_process()
        timer = threading.Timer(MAX_SECONDS, process.kill)
        timer.start()
        try:
            request = json.dumps([function.__module__, function.__name__, str(path), *arguments]).encode()
            _send_message(process.stdin, request)
            answer = unpack_answer(_receive_message(process.stdout))
        except (EOFError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            _end_process()
            raise ReadError(
                f"Expected a sound file, got {path}, which cannot be read to its end; export it again."
            ) from error
        except BaseException:
            _end_process()  # an interrupted answer would be taken for the next one
            raise
        finally:
            timer.cancel()
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve() -> None:
    """Answer calls that come in, one after another, until there are no more."""
    request_stream, answer_stream = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            module, name, path, *arguments = json.loads(_receive_message(request_stream))
        except EOFError:
            return
        try:
            answer = pack_answer(getattr(importlib.import_module(module), name)(path, *arguments))
        except Exception as error:
            answer = pack_answer(error)
        _send_message(answer_stream, answer)


def pack_answer(answer: Any) -> bytes:
    """Return an answer as bytes, of `np.savez`: its text and its arrays."""
    arrays: dict[str, np.ndarray] = {}

    def to_json(content: Any) -> Any:
        if isinstance(content, np.ndarray):
            arrays[f"a{len(arrays)}"] = content
            return {ARRAY_KEY: f"a{len(arrays) - 1}"}
        if isinstance(content, Exception):
            return {ERROR_KEY: type(content).__name__, "said": str(content)}
        if isinstance(content, dict):
            return {name: to_json(value) for name, value in content.items()}
        return [to_json(value) for value in content] if isinstance(content, list | tuple) else content

    text = json.dumps(to_json(answer)).encode()
    stream = io.BytesIO()
    np.savez(stream, text=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def unpack_answer(raw: bytes) -> Any:
    """Return the answer of bytes; errors are `ReadError` or Python's own."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def from_json(content: Any) -> Any:
        if isinstance(content, dict) and ARRAY_KEY in content:
            return arrays[content[ARRAY_KEY]]
        if isinstance(content, dict) and ERROR_KEY in content:
            error_class = getattr(builtins, content[ERROR_KEY], None)
            return (
                error_class(content["said"])
                if isinstance(error_class, type) and issubclass(error_class, Exception)
                else ReadError(content["said"])
            )
        if isinstance(content, dict):
            return {name: from_json(value) for name, value in content.items()}
        return [from_json(value) for value in content] if isinstance(content, list) else content

    return from_json(json.loads(arrays["text"].tobytes()))


def _split_attribute(holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    attribute = holder.attrs.get_id(name)
    if attribute.shape is None or math.prod(attribute.shape) * attribute.dtype.itemsize > MAX_ATTRIBUTE_BYTES:
        return []
    value = holder.attrs[name]
    parts = value.ravel().tolist() if isinstance(value, np.ndarray) else [value]
    texts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts]
    return [part for text in texts if isinstance(text, str) for part in re.split(r"[\s,:]+", text) if part]


def _send_message(stream: IO[bytes], message: bytes) -> None:
    """Write a message, its length before it."""
    stream.write(len(message).to_bytes(8, "big") + message)
    stream.flush()


def _receive_message(stream: IO[bytes]) -> bytes:
    """Return a message.

    Raises:
        EOFError: where the stream ends before it does, or it is too long to be one.
    """
    length = int.from_bytes(stream.read(8), "big")
    message = stream.read(length) if 0 < length <= MAX_ANSWER_BYTES else b""
    if not message or len(message) < length:
        raise EOFError
    return message


@lru_cache(maxsize=1)
def _worker_process() -> subprocess.Popen:
    """Return the process, started where there is none; it finds the package where this one does."""
    package_folder = str(Path(__file__).parents[2])
    search_paths = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-P", "-c", "from jaxstruc.io import isolated_process; isolated_process.serve()"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_paths},
    )  # fmt: skip
    atexit.register(_end_process)
    return process


def _end_process() -> None:
    """End the process, if there is one."""
    if not _worker_process.cache_info().currsize:
        return
    process = _worker_process()
    _worker_process.cache_clear()
    atexit.unregister(_end_process)
    process.kill()
    process.communicate()
