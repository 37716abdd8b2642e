"""Overrides as text, as on a command line: ``optim.learning_rate=1e-4``."""

import ast
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from polaris_jax.errors import InputError
from polaris_jax.options.fields import fields_of
from polaris_jax.options.names import known_name
from polaris_jax.options.values import flatten, replace

C = TypeVar("C")


def read_override(
    text: str, values: Mapping[str, object], current: Callable[[str], str] = lambda name: name
) -> tuple[str, object]:
    """``(name, value)`` of ``a.b=value``; values are Python literals, anything else is a string.

    Args:
      values: the current value of every field; the new value must have its type (for None, any type).
      current: gives the current name of a field that may have been renamed.

    Raises:
      InputError: an unknown field (with the nearest known one) or a value of another type.
    """
    name, separator, written = text.partition("=")
    if not separator:
        raise InputError("config", text, "an override reads --config.field=value")
    name = current(name)
    known_name(name, written, values)
    before = values[name]
    value: Any
    try:
        value = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        value = written
    if isinstance(before, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(before, str) and not isinstance(value, str):
        value = written
    if before is not None and type(value) is not type(before):
        raise InputError(f"config.{name}", written, f"must be {type(before).__name__}, like {before!r}")
    return name, value


def override(config: C, texts: Iterable[str]) -> C:
    """A copy of a dataclass of options with ``a.b=value`` fields changed.

    Raises:
      InputError: an unknown field, or a value that is refused.
    """
    for text in texts:
        # A field that is None is represented by a value of its type.
        values = {name: field.kind() for name, field in fields_of(type(config)).items()} | flatten(config)
        name, value = read_override(text, values)
        config = replace(config, {name: value})
    return config
