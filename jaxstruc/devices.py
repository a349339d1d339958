"""Work on several files at once, on the cores of a CPU or on several accelerators."""

import contextlib
import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import jax

Item = TypeVar("Item")
Value = TypeVar("Value")
MAX_CPU_WORKERS = 4
"""Largest number of files that a CPU works on at once. Further threads would wait for Python."""


def count_devices() -> int:
    """Return the number of files that this machine can work on at once.

    This is the number of accelerators, or the number of usable cores of a CPU, but at most `MAX_CPU_WORKERS`.
    """
    if jax.default_backend() != "cpu":
        return jax.local_device_count()
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(n_cores, MAX_CPU_WORKERS)


def map_in_order(
    function: Callable[[Item], Value], items: Iterable[Item], *, n_devices: int | None = None
) -> Iterator[Value]:
    """Yield the value of a function for each item, in the order of the items, with several calls at once.

    The first call is alone, because it compiles the programs. Items are taken when a call can begin. Each accelerator
    has a thread of its own. The threads of a CPU share its device, so that they share its programs.

    Args:
        function: Function of one item.
        items: Items.
        n_devices: Largest number of calls at once; `count_devices()` by default.
    """
    n_devices = n_devices or count_devices()
    if jax.default_backend() != "cpu":
        n_devices = min(n_devices, jax.local_device_count())
    iterator = iter(items)
    yield from map(function, itertools.islice(iterator, 1))
    if n_devices == 1:
        yield from map(function, iterator)
        return
    devices = jax.local_devices()[:n_devices]
    thread_devices, thread_data = itertools.cycle(devices), threading.local()

    def choose_device() -> None:
        thread_data.device = next(thread_devices)

    def call(item: Item) -> Value:
        # With one device, no device is named, because JAX would trace all programs again.
        with jax.default_device(thread_data.device) if len(devices) > 1 else contextlib.nullcontext():
            return function(item)

    executor = ThreadPoolExecutor(n_devices, initializer=choose_device)
    calls: deque[Future[Value]] = deque()
    try:
        for item in iterator:
            calls.append(executor.submit(call, item))
            if len(calls) > n_devices:
                yield calls.popleft().result()
        while calls:
            yield calls.popleft().result()
    finally:  # calls that have begun end by themselves
        executor.shutdown(wait=False, cancel_futures=True)
