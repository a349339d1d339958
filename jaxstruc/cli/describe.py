"""Description of the commands and their options as data, for scripts, workflow managers and other programs.

It is made from the dataclasses of the options. The module imports neither JAX nor NumPy.
"""

import ast
import dataclasses
import inspect
import math
import textwrap
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxstruc.options.validation import POSITIONAL, Bounds, Inline, Options, flag

Description = dict[str, Any]
TYPE_NAMES = {int: "integer", float: "number", str: "text", bool: "switch", Path: "path"}


def describe_command(name: str, command: type) -> Description:
    """Return name, help, example and options of a command.

    Args:
        name: Name of the command on the command line.
        command: Dataclass of its arguments.
    """
    text, _, example = inspect.cleandoc(command.__doc__ or "").partition("Example: ")
    return {
        "name": name,
        "help": " ".join(text.split()),
        "example": example.split("\n")[0].strip(),
        "options": describe_options(command),
    }


def describe_options(options: type) -> list[Description]:
    """Return the options of a dataclass. The options of nested groups follow in their order."""
    hints, texts = get_type_hints(options, include_extras=True), _field_texts(options)
    descriptions: list[Description] = []
    for field in dataclasses.fields(options):
        annotation, *metadata = (
            get_args(hints[field.name]) if _is_annotated(hints[field.name]) else (hints[field.name],)
        )
        if isinstance(annotation, type) and issubclass(annotation, Options):
            descriptions += describe_options(annotation)
        else:
            descriptions.append(_describe_option(field, annotation, metadata, texts.get(field.name, "")))
    return descriptions


def _describe_option(field: dataclasses.Field, annotation: Any, metadata: list[Any], text: str) -> Description:
    """Return flag, type, choices, bounds, default and help of one option.

    Args:
        field: Field of a dataclass.
        annotation: Type of the field.
        metadata: Further entries of its annotation: help, bounds and whether it has no flag.
        text: Text below the field, which is its help if the annotation has none.
    """
    arguments: list[Any] = [item for item in metadata if isinstance(item, type(Inline))]
    helps = [item.help for item in arguments if item.help]
    bounds = [item for item in metadata if isinstance(item, Bounds)]
    description: Description = {
        "name": field.name,
        "flags": [] if POSITIONAL in metadata else [flag(field.name), *_aliases(arguments)],
        **_describe_type(annotation),
        "required": field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        "help": " ".join((helps[0] if helps else text).split()),
    }
    if bounds:
        description["bounds"] = _describe_bounds(bounds[0])
    if not description["required"] and field.default is not dataclasses.MISSING:
        description["default"] = None if isinstance(field.default, Path) else field.default
    hints = [item.help_behavior_hint for item in arguments if item.help_behavior_hint]
    if hints and isinstance(hints[0], str):
        description["default_text"] = hints[0].removeprefix("(default: ").removesuffix(")")
    return description


def _aliases(arguments: list[Any]) -> list[str]:
    """Return the short flags of an option."""
    return [alias for item in arguments for alias in item.aliases or ()]


def _describe_type(annotation: Any) -> Description:
    """Return the name of a type, its choices, and whether it takes several values."""
    if _is_annotated(annotation):
        return _describe_type(get_args(annotation)[0])
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return _describe_type(members[0]) | {"several": True}
    if origin is Literal:
        return {"type": "choice", "choices": list(members)}
    if origin in (Union, UnionType):
        descriptions = [_describe_type(member) for member in members if member is not type(None)]
        return {name: value for description in reversed(descriptions) for name, value in description.items()}
    return {"type": TYPE_NAMES[annotation]}


def _describe_bounds(bounds: Bounds) -> Description:
    """Return the ends of a range that are finite, and whether the lower end is outside the range."""
    ends = {name: end for name, end in (("low", bounds.low), ("high", bounds.high)) if math.isfinite(end)}
    return ends | ({"low_is_outside": True} if bounds.exclusive else {})


def _is_annotated(annotation: Any) -> bool:
    return get_origin(annotation) is Annotated


@cache
def _field_texts(options: type) -> dict[str, str]:
    """Return the texts below the fields of a dataclass and its base classes, by the names of the fields."""
    texts: dict[str, str] = {}
    for base in reversed(options.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            is_field = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
            if is_field and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                texts[statement.target.id] = str(following.value.value)  # type: ignore[attr-defined, union-attr]
    return texts
