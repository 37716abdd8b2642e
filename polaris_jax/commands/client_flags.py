"""Flags of a language model's client, the same for every verb that asks one."""

import argparse
from collections.abc import Mapping
from typing import Any

from polaris_jax.errors import InputError

CLIENT = {  # fields of the model's client: type, what it says in --help
    "model": (str, "name of the model"),
    "base_url": (str, "address of an OpenAI-compatible server"),
    "api_key_env": (str, "NAME of the environment variable that holds the key"),
    "cache": (str, "folder or gs:// prefix of the model's replies"),
    "budget_usd": (float, "stop before the model has cost more; needs --prices"),
    "budget_tokens": (int, "stop before the model has used more"),
    "prices": (str, "USD per million prompt and completion tokens: 0.15,0.60"),
    "concurrency": (int, "calls to the model in flight (default 8)"),
    "timeout": (float, "seconds without a byte from the server (default 120; reasoning models need more)"),
    "attempts": (int, "calls per question, at most (default 6)"),
    "structured": (str, "how a schema is sent: json_schema | json_object | prompt"),
}


def add_flags(parser: argparse.ArgumentParser, flags: Mapping[str, tuple[type, str]] = CLIENT) -> None:
    """A flag per field, without default."""
    for name, (kind, text) in flags.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, help=text)


def client_spec(provider: str, values: Mapping[str, Any], cache: str | None):
    """The ``ClientSpec`` of what was given; ``cache`` where none was.

    Raises:
      InputError: a value is wrong.
    """
    from polaris_jax.llm import ClientSpec

    given = {name: values[name] for name in CLIENT if values.get(name) is not None}
    if "prices" in given:
        given["prices"] = numbers("--prices", given["prices"], ",", "two prices such as 0.15,0.60")
    return ClientSpec(**{"provider": provider, "model": "", "cache": cache} | given)


def refuse(values: Mapping[str, Any], names, advice: str) -> None:
    """Raises an ``InputError`` if one of the flags was given where it has no meaning."""
    for name in names:
        if values.get(name) is not None:
            raise InputError(f"--{name.replace('_', '-')}", values[name], advice)


def numbers(flag: str, value: object, separator: str, advice: str) -> tuple[float, ...]:
    """Numbers written with a separator between them, or a sequence of numbers."""
    parts = value.split(separator) if isinstance(value, str) else value
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise InputError(flag, value, advice) from None
