"""Flags of a language model's client, the same for every verb that uses one; derived from ``llm.ClientOptions``."""

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from polaris_jax.errors import InputError
from polaris_jax.llm.spec import ClientOptions, ClientSpec
from polaris_jax.options import OptionField, fields_of

if TYPE_CHECKING:
    from polaris_jax.scaffold import EntailmentSpec


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

NAMED = "PROVIDER:MODEL[@BASE_URL][,field=value...], such as openai:gpt-5.4,prices=1.25/10 or openai:m@http://host/v1"
IN_NAMED = {name: flag for name, flag in CLIENT.items() if name != "model"}  # the fields of NAMED


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


def named_client(flag: str, text: str, values: Mapping[str, Any], cache: str | None) -> ClientSpec:
    """The client that one value of a flag names, ``NAMED``; ``values`` has fields that the text may override.

    Raises:
      InputError: names ``flag``; it cannot be parsed.
    """
    head, *fields = text.split(",")
    provider, colon, model = head.partition(":")
    model, _, address = model.partition("@")
    if not colon or not model:
        raise InputError(flag, text, NAMED)
    given = {name: values.get(name) for name in IN_NAMED} | {"model": model}
    if address:
        given["base_url"] = address
    for one in fields:
        name, equals, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in IN_NAMED:
            raise InputError(flag, one, f"fields are {', '.join(IN_NAMED)}, written as field=value")
        try:
            given[name] = value.replace("/", ",") if name == "prices" else IN_NAMED[name][0](value)
        except ValueError:
            raise InputError(flag, one, IN_NAMED[name][1]) from None
    return client_spec(provider, given, cache)


def plan_judge(flag: str, text: str, cache: str | None) -> "EntailmentSpec":
    """The judge of plans that a flag's value names: ``nli:FOLDER``, or a client as in ``named_client``.

    Raises:
      InputError: names ``flag``; it cannot be parsed.
    """
    from polaris_jax.scaffold import EntailmentSpec

    kind, _, folder = text.partition(":")
    return EntailmentSpec(folder=folder) if kind == "nli" else EntailmentSpec(named_client(flag, text, {}, cache))


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
