"""Number of threads of the linear algebra of NumPy and SciPy (BLAS)."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import threadpoolctl

Parameters = ParamSpec("Parameters")
Value = TypeVar("Value")


def with_one_blas_thread(function: Callable[Parameters, Value]) -> Callable[Parameters, Value]:
    """Return the function with one thread for the linear algebra of NumPy and SciPy inside it.

    The matrices of a fit are small. Several threads would mostly wait for each other, and on a busy machine they take
    up to 50 times longer. The programs of JAX keep their threads.
    """

    @wraps(function)
    def call_with_one_thread(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Value:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return call_with_one_thread


@lru_cache
def _controller() -> threadpoolctl.ThreadpoolController:
    """Return the controller of the libraries that are loaded at the first call, because it takes some milliseconds."""
    return threadpoolctl.ThreadpoolController()
