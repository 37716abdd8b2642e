"""A grammar as a form: a JSON schema of its free parts, and the text made from an answer.

Engines that do not accept a grammar often accept a JSON schema. ``schema(node)`` asks only for the free parts of a
text, under names taken from the headings before them; ``fill(node, answer)`` writes the whole text with its headings. A
schema cannot express everything in the grammar, so the text must still be checked.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.continuation import fixed_text
from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq

LONGEST_PATTERN = 80
Schema = dict[str, Any]


class UnfilledForm(ValueError):
    """An answer that does not fill the form."""


def schema(node: Grammar) -> Schema:
    """The JSON schema of the free parts of ``node``; always an object, as engines require."""
    inner = _schema(node)
    if inner["type"] == "object":
        return inner
    name = node.name if isinstance(node, Named) else "text"
    return _object({name: inner})


def fill(node: Grammar, answer: Any) -> str:
    """The text made from an answer to ``schema(node)``.

    Raises:
      UnfilledForm: the answer does not have the schema's shape.
    """
    if _schema(node)["type"] != "object":
        if not isinstance(answer, dict) or len(answer) != 1:
            raise UnfilledForm("the answer must be an object with one field")
        (answer,) = answer.values()
    return _fill(node, answer)


def _schema(node: Grammar) -> Schema:
    if (choices := _choices(node)) is not None:
        return {"type": "string", "enum": choices}
    if _is_text(node):
        return _text_schema(node)
    match node:
        case Named(item=item):
            return _schema(item)
        case Seq():
            parts = dict(_fields(node))
            if len(parts) == 1:
                return _schema(next(iter(parts.values())))
            return _object({name: _schema(part) for name, part in parts.items()})
        case Alt(options):
            return _schema(_longest(options))
        case Repeat(item, low, high, _):
            if fixed_text(item) is not None:
                return {"type": "integer", "minimum": low} | ({} if high is None else {"maximum": high})
            return {"type": "array", "items": _schema(item), "minItems": low} | (
                {} if high is None else {"maxItems": high}
            )
    raise TypeError(f"not a grammar node: {node!r}")


def _fill(node: Grammar, answer: Any) -> str:
    if (known := fixed_text(node)) is not None:
        return known
    if _choices(node) is not None or _is_text(node):
        if not isinstance(answer, str):
            raise UnfilledForm(f"expected a string, found {str(answer)[:60]}")
        return _clean(node, answer)
    match node:
        case Named(item=item):
            return _fill(item, answer)
        case Seq(parts):
            free = list(_fields(node))
            if len(free) == 1:
                values: Iterator[Any] = iter([answer])
            elif isinstance(answer, dict) and all(name in answer for name, _ in free):
                values = iter([answer[name] for name, _ in free])
            else:
                raise UnfilledForm(f"expected the fields {', '.join(name for name, _ in free)}")
            return "".join(
                text if (text := fixed_text(part)) is not None else _fill(part, next(values)) for part in parts
            )
        case Alt(options):
            return _fill(_longest(options), answer)
        case Repeat(item, low, high, separator):
            between = fixed_text(separator) or ""
            if (one := fixed_text(item)) is not None:
                if not isinstance(answer, int):
                    raise UnfilledForm(f"expected a number, found {str(answer)[:60]}")
                return between.join([one] * answer)
            if not isinstance(answer, list) or len(answer) < low:
                raise UnfilledForm(f"expected a list of at least {low}, found {str(answer)[:60]}")
            return between.join(_fill(item, one) for one in answer[:high])
    raise TypeError(f"not a grammar node: {node!r}")


def _object(properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _fields(node: Seq) -> Iterator[tuple[str, Grammar]]:
    """Names and free parts of a sequence; the name is the text before the part, else the part's own name."""
    taken: set[str] = set()
    before = ""
    for part in node.parts:
        if (text := fixed_text(part)) is not None:
            before = text if text.strip() else before
            continue
        words = re.sub(r"\W+", "_", before.strip("\n").rpartition("\n")[2]).strip("_").lower()
        name = words if re.search("[a-z]", words) else part.name if isinstance(part, Named) else "text"
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        yield unique, part
        before = ""


def _choices(node: Grammar) -> list[str] | None:
    """The members of a node that is only a choice between fixed texts; else None."""
    if isinstance(node, Named):
        return _choices(node.item)
    if not isinstance(node, Alt):
        return None
    texts = [fixed_text(option) for option in node.options]
    return [text for text in texts if text is not None] if all(text is not None for text in texts) else None


def _longest(options: tuple[Grammar, ...]) -> Grammar:
    """The option with the longest member."""
    return max(options, key=lambda option: option.longest)


def _is_text(node: Grammar) -> bool:
    """Whether the node is one string of the form: text of one line without a fixed beginning."""
    match node:
        case CharClass():
            return True
        case Named(item=item):
            return _is_text(item) or (not isinstance(item, Seq | Repeat) and not _has_break(item))
        case Repeat(item, _, _, separator):
            return fixed_text(item) is None and _is_text(item) and not _has_break(node) and separator != Literal("")
        case Alt(options):
            return all(_is_text(option) or isinstance(option, Seq) for option in options) and not _has_break(node)
        case Seq(parts):
            return not _has_break(node) and all(fixed_text(part) is None for part in parts)
    return False


def _has_break(node: Grammar) -> bool:
    match node:
        case Literal(text):
            return "\n" in text
        case CharClass(chars):
            return "\n" in chars
        case Named(item=item):
            return _has_break(item)
        case Seq(parts):
            return any(map(_has_break, parts))
        case Alt(options):
            return any(map(_has_break, options))
        case Repeat(item, _, _, separator):
            return _has_break(item) or _has_break(separator)
    raise TypeError(f"not a grammar node: {node!r}")


def _text_schema(node: Grammar) -> Schema:
    found: Schema = {"type": "string", "minLength": 1}
    if len(node.regex) <= LONGEST_PATTERN and node.regex.isascii() and "\\" not in node.regex:
        return {"type": "string", "pattern": f"^{node.regex.replace('(?:', '(')}$"}
    inner = node.item if isinstance(node, Named) else node
    if isinstance(inner, Repeat) and inner.separator == Literal(" "):
        found["description"] = f"{inner.low} to {inner.high} words"
    return found if node.longest == float("inf") else found | {"maxLength": int(node.longest)}


def _clean(node: Grammar, text: str) -> str:
    """The string in normal form C, on one line, without characters that the node does not allow."""
    allowed = _alphabet(node)
    line = " ".join(unicodedata.normalize("NFC", text).split())
    line = "".join(char for char in line if char in allowed).strip()
    if len(line) > node.longest:
        line = line[: int(node.longest)].rpartition(" ")[0] or line[: int(node.longest)]
    return line


def _alphabet(node: Grammar) -> CharSet:
    match node:
        case Literal(text):
            return CharSet.of(text)
        case CharClass(chars):
            return chars
        case Named(item=item):
            return _alphabet(item)
        case Seq(parts) | Alt(parts):
            inner = [_alphabet(part) for part in parts]
        case Repeat(item, _, _, separator):
            inner = [_alphabet(item), _alphabet(separator)]
        case _:
            raise TypeError(f"not a grammar node: {node!r}")
    found = CharSet(())
    for chars in inner:
        found = found | chars
    return found
