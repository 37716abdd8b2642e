"""What chips and language models cost: one dated table (``prices.toml``), which a person can override.

``POLARIS_PRICES`` names a file of the same form; its entries win. A chip or model that is in neither has no price, and
callers say so instead of guessing.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polaris_jax.errors import InputError

VARIABLE = "POLARIS_PRICES"
_ABOUT = ("date", "source")  # entries of a section that are no prices


@dataclass(frozen=True)
class ModelPrice:
    """US dollars per million tokens.

    Attributes:
      input: of the prompt. output: of the answer, thinking included. cached: of what the provider had in its cache.
    """

    input: float
    output: float
    cached: float

    def dollars(self, prompt: int, answer: int, cached: int = 0) -> float:
        """The price of tokens; ``cached`` of the ``prompt`` tokens came from the provider's cache."""
        return ((prompt - cached) * self.input + cached * self.cached + answer * self.output) / 1e6


@dataclass(frozen=True)
class Prices:
    """The table.

    Attributes:
      chips: US dollars per chip and hour, by the generation's name (``v5p``).
      models: by the name that the provider's API takes.
      dates: when the sections ``chips`` and ``models`` were looked up.
    """

    chips: Mapping[str, float]
    models: Mapping[str, ModelPrice]
    dates: Mapping[str, str]

    def chip_hours(self, generation: str, hours: float) -> float | None:
        """US dollars of so many chip hours; None for a chip without a price."""
        price = self.chips.get(generation)
        return None if price is None else price * hours


def read_prices(file: str | os.PathLike | None = None) -> Prices:
    """The package's table with the entries of ``file`` (default: of ``POLARIS_PRICES``) in place of its own.

    Raises:
      InputError: no such file, or one that is no table of prices.
    """
    own = os.fspath(file) if file is not None else os.environ.get(VARIABLE)
    sections = _sections(Path(__file__).with_name("prices.toml"), "prices")
    for name, entries in (_sections(Path(own).expanduser(), VARIABLE) if own else {}).items():
        if name not in sections:
            raise InputError(VARIABLE, name, "no such section; there are [chips] and [models]")
        sections[name] |= entries
    where = own or "prices"
    chips = {name: _number(value, name, where) for name, value in sections["chips"].items() if name not in _ABOUT}
    models = {name: _model(value, name, where) for name, value in sections["models"].items() if name not in _ABOUT}
    return Prices(chips, models, {name: str(section.get("date", "")) for name, section in sections.items()})


def _sections(file: Path, field: str) -> dict[str, dict[str, Any]]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(field, str(file), f"cannot be read: {error}") from error
    for name, section in content.items():
        if not isinstance(section, dict):
            raise InputError(field, name, "stands outside the sections [chips] and [models]")
    return content


def _model(value: Any, name: str, where: str) -> ModelPrice:
    if (
        not isinstance(value, dict)
        or set(value) - {"input", "output", "cached"}
        or not {"input", "output"} <= set(value)
    ):
        raise InputError(where, name, "write { input = 0.5, output = 3.0, cached = 0.05 }: dollars per million tokens")
    numbers = {field: _number(price, f"{name}.{field}", where) for field, price in value.items()}
    return ModelPrice(numbers["input"], numbers["output"], numbers.get("cached", numbers["input"]))


def _number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(where, f"{name} = {value}", "a price is a number of dollars, not negative")
    return float(value)
