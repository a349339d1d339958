"""Number of threads of the linear algebra of NumPy and SciPy (BLAS)."""

import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import threadpoolctl

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def with_one_blas_thread(function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """Return the function with one thread for the linear algebra of NumPy and SciPy inside it.

    The matrices of a fit are small. Several threads would mostly wait for each other, and on a busy machine they take
    up to 50 times longer. The programs of JAX keep their threads. Several threads of Python may call the function at
    once.
    """

    @wraps(function)
    def call_with_one_thread(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Value:
        _limit.enter()
        try:
            return function(*args, **kwargs)
        finally:
            _limit.leave()

    return call_with_one_thread


class _SharedLimit:
    """Limit of one thread for the whole process, from the first call inside it to the end of the last one."""

    def __init__(self) -> None:
        self._lock, self._n_calls = threading.Lock(), 0
        self._limiter: Any = None

    def enter(self) -> None:
        """Begin a call."""
        with self._lock:
            if not self._n_calls:
                _take_control()
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._n_calls += 1

    def leave(self) -> None:
        """End a call."""
        with self._lock:
            self._n_calls -= 1
            if not self._n_calls:
                _take_control()
                self._limiter.restore_original_limits()


_limit = _SharedLimit()


def _take_control() -> None:
    """Let this thread change the number of BLAS threads, which otherwise belongs to the first thread that set it."""
    controller = threadpoolctl.OpenBLASController
    if hasattr(controller, "clear_controlling_thread"):
        controller.clear_controlling_thread(force=True)


@lru_cache
def _controller() -> threadpoolctl.ThreadpoolController:
    """Return the controller of the libraries that are loaded at the first call, because it takes some milliseconds."""
    return threadpoolctl.ThreadpoolController()
