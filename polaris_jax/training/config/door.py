"""The door between what a person writes and what the program reads: a ``ConfigDict`` becomes frozen dataclasses, once.

``config_dict`` makes the ``ConfigDict`` of a dataclass of options, ``typed`` the dataclass of a ``ConfigDict``.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from ml_collections import ConfigDict

from polaris_jax import options
from polaris_jax.options.fields import fields_of, former_names, sections_of
from polaris_jax.options.names import current_name

C = TypeVar("C")


class RenamedDict(ConfigDict):
    """A ``ConfigDict`` that still answers to names that its fields had before, and says once what they are called now.

    Attributes:
      former: ``{name of before: name of now}`` of all sections.
    """

    former: ClassVar[dict[str, str]] = {}

    def __getitem__(self, key: str) -> Any:
        """As ``ConfigDict``."""
        return super().__getitem__(self.current(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self.current(key), value)

    def update(self, *others: Mapping[str, Any], **values: Any) -> None:
        """As ``ConfigDict.update``."""
        for other in (*others, values):
            super().update({self.current(key): value for key, value in other.items()})

    def current(self, key: str) -> str:
        """The present name of the field ``key``."""
        new = self.former.get(key)
        if new is None or new not in self._fields:
            return key
        _tell(key, new)
        return new


def config_dict(instance: Any) -> ConfigDict:
    """Its fields as a ``ConfigDict``; one whose value is None and has no blank is absent, and can be set."""
    cls, top = type(instance), ConfigDict()
    renamed = set()
    for old, new in former_names(cls).items():
        section, _, leaf = old.rpartition(".")
        RenamedDict.former[leaf] = new.rpartition(".")[2]
        renamed.add(section)
    for name in sections_of(cls):
        parent, leaf = place(top, name)
        parent[leaf] = RenamedDict() if name in renamed else ConfigDict()
    for name, value in options.flatten(instance).items():
        parent, leaf = place(top, name)
        parent[leaf] = value
    return top


def typed(cls: type[C], config: "ConfigDict | C", start: str, partial: tuple[str, ...] = ()) -> C:
    """``config`` as an instance of ``cls``; an instance is returned as it is.

    Args:
      start: where a person gets every field from, for the error about one that is missing.
      partial: how the names of those fields begin that may be left out.

    Raises:
      InputError: an unknown field (with the nearest known one), one that is missing, or an impossible value.
    """
    if isinstance(config, cls):
        return config
    # What is None by default is not in a config that was written down.
    complete = [
        name for name, field in fields_of(cls).items() if field.written is not None and not name.startswith(partial)
    ]
    rows = flatten(config)
    for old, new in former_names(cls).items():
        if any(current_name(name, {old: new}) != name for name in rows):
            _tell(old, new)
    return options.build(cls, rows, start=start, complete=complete)


def flatten(config: Any) -> dict[str, object]:
    """``{"optim.learning_rate": 2e-5, ...}`` in sorted order, of a ``ConfigDict`` or of typed options."""
    if isinstance(config, ConfigDict | Mapping):
        return dict(sorted(_rows(config)))
    return options.flatten(config)


@lru_cache
def _tell(name: str, new: str) -> None:
    """Once for every name."""
    print(f"config: {name} is now called {new}", file=sys.stderr)


def _rows(config: Any, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in config.items():
        if isinstance(value, ConfigDict | Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def place(config: ConfigDict, name: str) -> tuple[ConfigDict, str]:
    """The section that holds a field, and the field's name in it."""
    *folders, leaf = name.split(".")
    for folder in folders:
        config = config[folder]
    return config, leaf


def current_path(config: ConfigDict, name: str) -> str:
    """``name`` with every part as it is called now; a part that is no field is left as it is."""
    parts = name.split(".")
    for number, part in enumerate(parts):
        if isinstance(config, RenamedDict):
            parts[number] = part = config.current(part)
        if not isinstance(config, ConfigDict) or part not in config:
            break
        config = config[part]
    return ".".join(parts)
