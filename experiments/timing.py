"""Wall-clock times of calls, compilation apart."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def time_call(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a call, once all of it is computed, and its seconds."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return result, time.perf_counter() - start


def time_calls(call: Callable[[], Any], *, n_repeats: int) -> tuple[Any, float, float]:
    """Return the result, the seconds of the first call, which compiles, and the median of `n_repeats` more."""
    results_and_seconds = [time_call(call) for _ in range(n_repeats + 1)]
    seconds = [call_seconds for _, call_seconds in results_and_seconds]
    return results_and_seconds[-1][0], seconds[0], float(np.median(seconds[1:]))
