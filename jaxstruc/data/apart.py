"""Work on files of strangers in a process of its own.

A library that crashes or hangs on a damaged file takes only that process with it. The process is started with the
first such file, serves the next ones too, and ends with this one. What it answers is data alone, JSON and arrays:
a file that takes it over can make it say false numbers, but nothing that is run here.
"""

import atexit
import builtins
import importlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from jaxstruc.data.text import ReadError

MAX_SECONDS = 60.0
"""Seconds for one file."""
MAX_ANSWER_BYTES = 2**30
"""Bytes of an answer."""
ARRAY_KEY, ERROR_KEY = "$array", "$raised"
"""Keys of an answer's text that stand for an array beside it, and for an error."""
_LOCK = threading.Lock()


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
    command = [sys.executable, "-P", "-c", "from jaxstruc.data import apart; apart.serve()"]
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
