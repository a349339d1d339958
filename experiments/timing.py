"""Functions that measure the wall-clock times of calls, with and without compilation."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def time_call(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call and the time in seconds until all of it is computed."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - start


def time_calls(call: Callable[[], Any], *, n_repeats: int) -> tuple[Any, float, float]:
    """Return the result, the time of the first call, which compiles, and the median time of `n_repeats` more calls.

    Times are in seconds.
    """
    results_and_seconds = [time_call(call) for _ in range(n_repeats + 1)]
    seconds = [call_seconds for _, call_seconds in results_and_seconds]
    return results_and_seconds[-1][0], seconds[0], float(np.median(seconds[1:]))
