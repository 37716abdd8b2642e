"""Flags of a language model's client, the same for every verb that uses one; derived from ``llm.ClientOptions``."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.llm.spec import ClientOptions, ClientSpec
from polaris_jax.options import OptionField, fields_of


def _flag(field: OptionField) -> tuple[type, str]:
    """The type of a field's flag, and its text in ``--help``. Prices are text, which ``client_spec`` reads."""
    kind = str if field.kind is tuple else field.kind
    known = field.default not in (None, dataclasses.MISSING)
    return kind, field.declared.doc + (f" (default {str(field.default).removesuffix('.0')})" if known else "")


# Every field of a client has a flag, except the provider, for which each verb has its own flag, and the patience.
CLIENT = {
    field.name: _flag(fields_of(ClientOptions)[field.name])
    for field in dataclasses.fields(ClientOptions)
    if field.name not in ("provider", "backoff")
}


def add_flags(parser: argparse.ArgumentParser, flags: Mapping[str, tuple[type, str]] = CLIENT) -> None:
    """Adds one flag per field, without default."""
    for name, (kind, text) in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, help=text)


def client_spec(provider: str, values: Mapping[str, Any], cache: str | None) -> ClientSpec:
    """The client that the flags describe; ``cache`` is used if none was given.

    Raises:
      InputError: a value is wrong.
    """
    given = {name: values[name] for name in CLIENT if values.get(name) is not None}
    if "prices" in given:
        given["prices"] = numbers("--prices", given["prices"], ",", "two or three prices such as 0.15,0.60")
    return ClientSpec(**{"provider": provider, "model": "", "cache": cache} | given)


def refuse(values: Mapping[str, Any], names: Iterable[str], advice: str) -> None:
    """Raises an ``InputError`` if one of these flags was given."""
    for name in names:
        if values.get(name) is not None:
            raise InputError(f"--{name.replace('_', '-')}", values[name], advice)


def numbers(flag: str, value: str | Iterable[Any], separator: str, advice: str) -> tuple[float, ...]:
    """Numbers written with a separator between them, or a sequence of numbers.

    Raises:
      InputError: names ``flag``; the value is not numbers.
    """
    parts = value.split(separator) if isinstance(value, str) else value
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise InputError(flag, value, advice) from None
