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

LONGEST = 60.0
"""Seconds for one file."""
LARGEST = 2**30
"""Bytes of an answer."""
ARRAY, RAISED = "$array", "$raised"
"""Keys of an answer's text that stand for an array beside it, and for an error."""
_LOCK = threading.Lock()


def call(function: Callable[..., Any], path: Path, *more: Any) -> Any:
    """Return what a function of a module returns for a file, tuples as lists; the path is given as text.

    Args:
        function: that returns text, numbers, None, arrays and errors, and lists, tuples and dictionaries of them.
        path: of the file.
        more: arguments, as JSON has them.

    Raises:
        ReadError: as the function does, or where it crashes or takes too long.
    """
    with _LOCK:
        if _process().poll() is not None:
            _end()
        process: Any = _process()
        timer = threading.Timer(LONGEST, process.kill)
        timer.start()
        try:
            call = json.dumps([function.__module__, function.__name__, str(path), *more]).encode()
            _send(process.stdin, call)
            answer = unpacked(_received(process.stdout))
        except (EOFError, OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            _end()
            raise ReadError(
                f"Expected a sound file, got {path}, which cannot be read to its end; export it again."
            ) from error
        except BaseException:
            _end()  # an interrupted answer would be taken for the next one
            raise
        finally:
            timer.cancel()
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve() -> None:
    """Answer calls that come in, one after another, until there are no more."""
    calls, answers = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            module, name, path, *more = json.loads(_received(calls))
        except EOFError:
            return
        try:
            answer = packed(getattr(importlib.import_module(module), name)(path, *more))
        except Exception as error:
            answer = packed(error)
        _send(answers, answer)


def packed(answer: Any) -> bytes:
    """Return an answer as bytes, of `np.savez`: its text and its arrays."""
    arrays: dict[str, np.ndarray] = {}

    def told(item: Any) -> Any:
        if isinstance(item, np.ndarray):
            arrays[f"a{len(arrays)}"] = item
            return {ARRAY: f"a{len(arrays) - 1}"}
        if isinstance(item, Exception):
            return {RAISED: type(item).__name__, "said": str(item)}
        if isinstance(item, dict):
            return {name: told(value) for name, value in item.items()}
        return [told(value) for value in item] if isinstance(item, list | tuple) else item

    text = json.dumps(told(answer)).encode()
    stream = io.BytesIO()
    np.savez(stream, text=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def unpacked(raw: bytes) -> Any:
    """Return the answer of bytes; errors are `ReadError` or Python's own."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}

    def made(item: Any) -> Any:
        if isinstance(item, dict) and ARRAY in item:
            return arrays[item[ARRAY]]
        if isinstance(item, dict) and RAISED in item:
            own = getattr(builtins, item[RAISED], None)
            return (
                own(item["said"]) if isinstance(own, type) and issubclass(own, Exception) else ReadError(item["said"])
            )
        if isinstance(item, dict):
            return {name: made(value) for name, value in item.items()}
        return [made(value) for value in item] if isinstance(item, list) else item

    return made(json.loads(arrays["text"].tobytes()))


def _send(stream: IO[bytes], message: bytes) -> None:
    """Write a message, its length before it."""
    stream.write(len(message).to_bytes(8, "big") + message)
    stream.flush()


def _received(stream: IO[bytes]) -> bytes:
    """Return a message.

    Raises:
        EOFError: where the stream ends before it does, or it is too long to be one.
    """
    length = int.from_bytes(stream.read(8), "big")
    message = stream.read(length) if 0 < length <= LARGEST else b""
    if not message or len(message) < length:
        raise EOFError
    return message


@lru_cache(maxsize=1)
def _process() -> subprocess.Popen:
    """Return the process, started where there is none; it finds the package where this one does."""
    place = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (place, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-P", "-c", "from jaxstruc.data import apart; apart.serve()"]
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    atexit.register(_end)
    return started


def _end() -> None:
    """End the process, if there is one."""
    if not _process.cache_info().currsize:
        return
    process = _process()
    _process.cache_clear()
    atexit.unregister(_end)
    process.kill()
    process.communicate()
