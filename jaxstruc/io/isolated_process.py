"""Reading of HDF5 files in a separate process, so that a damaged file cannot harm the program.

If the HDF5 library crashes or does not return, only the separate process ends. It is started for the first HDF5 file,
reads the following files too, and ends with the main process. It returns only JSON text and arrays, so a malicious file
can produce wrong numbers but cannot run code in the main process. If HDF5 detects damage, the user gets an error of one
line. Links to other files are not followed.
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
"""Largest size of a file, in bytes."""
MAX_BLOCK_BYTES = 64 * 2**20
"""Largest size of a chunk of a dataset after decompression, in bytes. HDF5 decompresses one chunk at once."""
MAX_ATTRIBUTE_BYTES = 2**14
"""Largest size of an attribute, in bytes."""
DAMAGE_ERRORS = (OSError, RuntimeError, KeyError, IndexError, ValueError, TypeError, OverflowError, MemoryError)
"""Exceptions that h5py raises if a file is damaged."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file."""
SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")
"""Endings of the names of HDF5 files."""
MAX_SECONDS = 12.0
"""Longest time to read one file, in seconds."""
MAX_ANSWER_BYTES = 2**30
"""Largest size of an answer of the separate process, in bytes."""
ARRAY_KEY, DOUBLE_KEY, ERROR_KEY = "$array", "$doubles", "$raised"
"""Keys in the JSON text of an answer. They mark the place of an array, of an array in double precision, and of an
exception."""
_LOCK = threading.Lock()


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[tuple[h5py.File, str]]:
    """Open an HDF5 file and yield it with the checksum of its content.

    Raises:
        ReadError: If the file cannot be opened, or if h5py detects damage while it is open.
    """
    checksum = hashlib.sha256(raw_bytes(path, CURVE_RULES, max_bytes=MAX_FILE_BYTES)).hexdigest()
    try:
        with h5py.File(path, "r") as file:
            yield file, checksum
    except ReadError:
        raise
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split())[:100].replace("?", "")
        raise ReadError(
            f"Expected HDF5, got {path}, which is damaged or not HDF5 ({reason}); export it again."
        ) from error


def get_member(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset | None:
    """Return a member of a group, or None if it does not exist or is a link to another file."""
    link = group.get(name, getlink=True)
    return None if link is None or isinstance(link, h5py.ExternalLink) else group.get(name)


def read_numbers(data: h5py.Dataset, selection: tuple[int | slice, ...], path: Path) -> np.ndarray:
    """Return a part of a dataset in double precision.

    Raises:
        ReadError: If the dataset is stored in other files, or in chunks that are too large.
    """
    is_inside_file = not data.is_virtual and not data.external
    expect(is_inside_file, f"numbers in the file, got links to other files in {path}; copy the numbers into it")
    block_bytes = math.prod(data.chunks or ()) * data.dtype.itemsize
    expect(
        block_bytes <= MAX_BLOCK_BYTES,
        f"chunks of at most {MAX_BLOCK_BYTES >> 20} MB, got {block_bytes >> 20} MB in {path}; write smaller chunks",
    )
    return np.asarray(data[selection], np.float64)


def attribute_parts(holder: h5py.Group | h5py.Dataset, *names: str) -> list[str]:
    """Return the words of the first attribute that has any words, or an empty list.

    The value of an attribute is a list of texts, or one text in which spaces, commas or colons separate the words.

    Args:
        holder: Group or dataset that has the attributes.
        names: Names of the attributes to try, in this order.
    """
    for name in names:
        if name in holder.attrs and (parts := _split_attribute(holder, name)):
            return parts
    return []


def attribute_text(holder: h5py.Group | h5py.Dataset, *names: str) -> str:
    """Return the words of `attribute_parts` as one text with spaces between the words."""
    return " ".join(attribute_parts(holder, *names))


def call(function: Callable[..., Any], path: Path, *arguments: Any, max_seconds: float = MAX_SECONDS) -> Any:
    """Call `function(str(path), *arguments)` in the separate process and return its answer. Tuples become lists.

    Args:
        function: Module-level function. It may return text, numbers, None, arrays and exceptions, and lists, tuples
            and dictionaries of these.
        path: Path of the file.
        arguments: Further arguments of the function, which JSON can represent.
        max_seconds: Longest time that the function may take, in seconds.

    Raises:
        ReadError: If the function raises a `ReadError`, crashes or takes longer than `max_seconds`. A built-in
            exception that the function raises is raised here too.
    """
    has_timed_out = threading.Event()
    with _LOCK:
        if _worker_process().poll() is not None:
            _end_process()
        process: Any = _worker_process()
        timer = threading.Timer(max_seconds, _stop, [process, has_timed_out])
        timer.start()
        try:
            request = json.dumps([function.__module__, function.__name__, str(path), *arguments]).encode()
            _send_message(process.stdin, request)
            answer = unpack_answer(_receive_message(process.stdout))
        except (EOFError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            _end_process()
            if has_timed_out.is_set():
                raise ReadError(
                    f"Expected a file that is read within {max_seconds:g} s, got {path}, which took longer; write "
                    "fewer curves into it, or export text columns."
                ) from error
            raise ReadError(
                f"Expected an intact file, got {path}, which cannot be read to its end; export it again."
            ) from error
        except BaseException:
            _end_process()  # otherwise the next call would receive the rest of the interrupted answer
            raise
        finally:
            timer.cancel()
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve() -> None:
    """Answer the calls of the main process until it closes the stream. The separate process runs this function."""
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
    """Return the bytes of an archive of `np.savez` that holds the JSON text and the arrays of an answer.

    All arrays in double precision are joined to one array, because many small arrays are slow to pack.
    """
    arrays: dict[str, np.ndarray] = {}
    double_arrays: list[np.ndarray] = []

    def to_json(content: Any) -> Any:
        if isinstance(content, np.ndarray) and content.dtype == np.float64:
            double_arrays.append(content.ravel())
            return {DOUBLE_KEY: content.shape}
        if isinstance(content, np.ndarray):
            arrays[f"a{len(arrays)}"] = content
            return {ARRAY_KEY: f"a{len(arrays) - 1}"}
        if isinstance(content, Exception):
            return {ERROR_KEY: type(content).__name__, "message": str(content)}
        if isinstance(content, dict):
            return {name: to_json(value) for name, value in content.items()}
        return [to_json(value) for value in content] if isinstance(content, list | tuple) else content

    text = json.dumps(to_json(answer)).encode()
    stream = io.BytesIO()
    doubles = np.concatenate(double_arrays) if double_arrays else np.zeros(0)
    np.savez(stream, text=np.frombuffer(text, np.uint8), doubles=doubles, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def unpack_answer(raw: bytes) -> Any:
    """Return the answer that `pack_answer` packed.

    An exception in the answer becomes the built-in exception of the same name, or `ReadError` if there is none.
    """
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    doubles, position = arrays["doubles"], 0

    def next_doubles(shape: list[int]) -> np.ndarray:
        nonlocal position
        start, position = position, position + math.prod(shape)
        return doubles[start:position].reshape(shape)

    def from_json(content: Any) -> Any:
        if isinstance(content, dict) and ARRAY_KEY in content:
            return arrays[content[ARRAY_KEY]]
        if isinstance(content, dict) and DOUBLE_KEY in content:
            return next_doubles(content[DOUBLE_KEY])
        if isinstance(content, dict) and ERROR_KEY in content:
            error_class = getattr(builtins, content[ERROR_KEY], None)
            return (
                error_class(content["message"])
                if isinstance(error_class, type) and issubclass(error_class, Exception)
                else ReadError(content["message"])
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
    """Write the length of a message and then the message."""
    stream.write(len(message).to_bytes(8, "big") + message)
    stream.flush()


def _receive_message(stream: IO[bytes]) -> bytes:
    """Read a message that `_send_message` wrote.

    Raises:
        EOFError: If the stream ends before the message does, or if the stated length is 0 or too large.
    """
    length = int.from_bytes(stream.read(8), "big")
    message = stream.read(length) if 0 < length <= MAX_ANSWER_BYTES else b""
    if not message or len(message) < length:
        raise EOFError
    return message


@lru_cache(maxsize=1)
def _worker_process() -> subprocess.Popen:
    """Return the separate process, which the first call starts.

    The separate process imports this package from the same folder as the main process.
    """
    package_folder = str(Path(__file__).parents[2])
    search_paths = os.pathsep.join(filter(None, (package_folder, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-P", "-c", "from jaxstruc.io import isolated_process; isolated_process.serve()"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search_paths},
    )  # fmt: skip
    atexit.register(_end_process)
    return process


def _stop(process: subprocess.Popen, has_timed_out: threading.Event) -> None:
    """Kill the separate process, and record that it exceeded its time limit."""
    has_timed_out.set()
    process.kill()


def _end_process() -> None:
    """End the separate process if it runs."""
    if not _worker_process.cache_info().currsize:
        return
    process = _worker_process()
    _worker_process.cache_clear()
    atexit.unregister(_end_process)
    process.kill()
    process.communicate()
