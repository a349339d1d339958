"""The type checker that the tests apply to every function and dataclass of the package while they run."""

import functools
import typing

import beartype
import jax
import jaxtyping
import numpy as np


def install() -> None:
    """Check the functions and dataclasses of the package whose annotations state shapes, when they are called.

    Other functions stay as they are, because the decorator of jaxtyping takes time in each call.
    """
    decorate = jaxtyping.jaxtyped

    def decorate_if_needed(function=None, **options):
        if function is None:
            return functools.partial(decorate_if_needed, **options)
        annotations = getattr(function, "__annotations__", {})
        is_checked = isinstance(function, type) or any(map(mentions_array, annotations.values()))
        return decorate(function, **options) if is_checked else function

    jaxtyping.jaxtyped = decorate_if_needed
    jaxtyping.install_import_hook("jaxstruc", "runtime_types.check")


def check(function):
    """Return a function that checks the shapes and the types of the arrays among its arguments and its results.

    Other types are not checked here: mypy checks them, and tests of bad input violate them.
    """
    array_hints = {name: hint for name, hint in function.__annotations__.items() if mentions_array(hint)}
    if not array_hints:
        return function
    function.__annotations__ = array_hints
    checked_function = beartype.beartype(function)
    if function.__name__ != "__init__":
        return checked_function

    @functools.wraps(function)
    def check_fields(*args, **kwargs):
        is_abstract = any(map(is_abstract_array, [*args, *kwargs.values()]))
        return (function if is_abstract else checked_function)(*args, **kwargs)

    return check_fields


def mentions_array(hint) -> bool:
    """Return whether a type annotation states the shape of an array, alone or in a union or a container."""
    is_array = isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)
    return is_array or any(mentions_array(argument) for argument in typing.get_args(hint))


def is_abstract_array(value) -> bool:
    """Return whether a value has a shape but no numbers. JAX rebuilds dataclasses with such values when it traces."""
    return hasattr(value, "shape") and not isinstance(value, jax.Array | np.ndarray | np.generic)
