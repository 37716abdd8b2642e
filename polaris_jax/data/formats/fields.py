"""Reads the fields of a row; its errors name the row, the field, its value and what to do."""

from collections.abc import Iterator, Mapping
from typing import Any

from polaris_jax.errors import InputError


class Fields:
    """A JSON object that remembers which of its fields were read.

    Args:
      row: the object. where: what to call it in an error.
    """

    def __init__(self, row: Mapping[str, Any], where: str):
        self.row, self.where = row, where
        self.used: set[str] = set()

    def has(self, *names: str) -> bool:
        """Whether one of the fields exists and is not null."""
        return any(self.row.get(name) is not None for name in names)

    def name(self, *names: str) -> str:
        """The first of ``names`` that exists and is not null; otherwise ``names[0]``.

        Raises:
          InputError: two of them exist and differ, so it is unclear which one is meant.
        """
        given = [name for name in names if self.row.get(name) is not None]
        for other in given[1:]:
            if self.row[other] != self.row[given[0]]:
                raise self.fault(other, f"says the same as {given[0]!r} and differs from it; leave one of them out")
            self.used.add(other)
        return given[0] if given else names[0]

    def get(self, *names: str) -> Any:
        """The value of the first field that exists, or None."""
        name = self.name(*names)
        self.used.add(name)
        return self.row.get(name)

    def text(self, *names: str, empty: bool = False) -> str:
        """A text field; '' when it is missing and may be ``empty``.

        Raises:
          InputError: it is missing, empty, or not text.
        """
        value, name = self.get(*names), self.name(*names)
        if value is None and empty:
            return ""
        if not isinstance(value, str):
            raise self.fault(name, "must be text" if self.has(name) else f"is needed, as text{_or(names)}")
        if not empty and not value.strip():
            raise self.fault(name, "is empty: there is nothing to learn; write it, or take the row out")
        return value

    def fault(self, name: str, advice: str) -> InputError:
        """An error about a field of this row."""
        return InputError(f"{self.where}: {name}", self.row.get(name), advice)

    def unused(self) -> dict[str, Any]:
        """The fields that were not read, without nulls and empty values."""
        left = {name: value for name, value in self.row.items() if name not in self.used}
        return {name: value for name, value in left.items() if value not in (None, "", [], {})}

    def items(self, name: str) -> Iterator["Fields"]:
        """The objects of a list; a single object counts as a list of one.

        Raises:
          InputError: not a list, an empty list, or an item that is not an object.
        """
        value = self.get(name)
        value = [value] if isinstance(value, Mapping) else value
        if not isinstance(value, list) or not value:
            raise self.fault(name, "must be a list with at least one message")
        for number, item in enumerate(value, 1):
            if not isinstance(item, Mapping):
                raise InputError(f"{self.where}: {name}[{number}]", item, 'must be an object like {"role", "content"}')
            yield Fields(item, f"{self.where}: {name}[{number}]")


def _or(names: tuple[str, ...]) -> str:
    return f" (or {', '.join(names[1:])})" if names[1:] else ""
