"""Work on files of strangers in a process of its own.

A library that crashes or hangs on a damaged file takes only that process with it. The process is started with the
first such file, serves the next ones too, and ends with this one.
"""

import atexit
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jaxstruc.data.text import ReadError

LONGEST = 60.0
"""Seconds for one file."""
_LOCK = threading.Lock()


def call(function: Callable[..., Any], path: Path, *more: Any) -> Any:
    """Return what a function of a module returns for a file; arguments and answer are pickled.

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
            pickle.dump((function, path, more), process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
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
            function, path, more = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = function(path, *more)
        except Exception as error:
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


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
