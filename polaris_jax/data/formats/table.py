"""The formats of a JSON object: the fields that identify each, and its reader."""

from collections.abc import Callable, Mapping
from typing import Any

from polaris_jax.data.formats.chats import LISTS, read_chat
from polaris_jax.data.formats.fields import Fields
from polaris_jax.data.formats.instructions import COMPLETIONS, PROMPTS, read_alpaca, read_completion, read_text
from polaris_jax.data.formats.preferences import read_pair
from polaris_jax.data.formats.records import Record, Row
from polaris_jax.errors import InputError

Reader = Callable[[Fields], Record]
_READERS: dict[str, Reader] = {
    "pairs": read_pair,
    "messages": read_chat,
    "sharegpt": read_chat,
    "alpaca": read_alpaca,
    "completion": read_completion,
    "text": read_text,
}
FORMATS = {
    "pairs": "prompt, chosen, rejected",
    "messages": 'messages: [{"role", "content"}]',
    "sharegpt": 'conversations: [{"from", "value"}]',
    "alpaca": "instruction, input, output",
    "completion": "prompt, completion",
    "text": "text",
}


def format_of(row: Mapping[str, Any]) -> str | None:
    """The name of the format that a row's fields fit, or None. A pair may also hold fields of other formats."""
    names = {name for name, value in row.items() if value is not None}
    if names & {"chosen", "rejected"}:
        return "pairs"
    for name in LISTS:
        if name in names:
            first = row[name][0] if isinstance(row[name], list) and row[name] else None
            return "sharegpt" if isinstance(first, Mapping) and "from" in first else "messages"
    if "instruction" in names:
        return "alpaca"
    if names & set(PROMPTS) and names & set(COMPLETIONS):
        return "completion"
    return "text" if "text" in names else "completion" if "prompt" in names else None


def read_row(row: Mapping[str, Any], where: str, expected: str | None = None) -> Row:
    """Reads a row of any format.

    Args:
      where: ``file:line``. expected: the format of the rows before it; another one is refused.

    Raises:
      InputError: fields of no format, a format other than expected, or a field that its reader refuses.
    """
    found = format_of(row)
    if found is None:
        known = "; ".join(FORMATS.values())
        raise InputError(where, sorted(row), f"these fields fit no format; the formats are: {known}")
    if expected is not None and found != expected and {found, expected} != {"messages", "sharegpt"}:
        advice = f"is of the format {found}, the rows before it are of {expected}; one file has one format"
        raise InputError(where, sorted(row), advice)
    fields = Fields(row, where)
    record = _READERS[found](fields)
    return Row(where, found, record, fields.unused())
