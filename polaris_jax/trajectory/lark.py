"""A grammar node printed in llguidance's Lark dialect.

Every named group becomes a rule and every token one terminal. Inlining nested bounded repeats would multiply the
automaton; named rules keep it small. llguidance lexes greedily and never takes a lexeme back. So free text must be one
``Token``, and runs of newlines are separate lexemes: ``\\n\\n## A`` and ``\\n\\n### B`` then differ after a whole
lexeme.
"""

import json
import re
from collections.abc import Callable

from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq, Token


def lark(node: Grammar) -> str:
    """Grammar text with entry rule ``start``."""
    rules: dict[str, str] = {}
    names: dict[Grammar, str] = {}
    rules["start"] = ""
    rules["start"] = _expression(node, rules, names)
    return "\n".join(f"{name}: {body}" for name, body in rules.items()) + "\n"


def _expression(node: Grammar, rules: dict, names: dict) -> str:
    match node:
        case Literal(text):
            pieces = re.findall(r"\n+|[^\n]+", text)
            return " ".join(json.dumps(piece, ensure_ascii=False) for piece in pieces) or '""'
        case Token(name, item):
            return rule_name(node, name.upper(), lambda: f"/{item.regex}/", rules, names)
        case Named(name, item):
            return rule_name(node, name.lower(), lambda: _expression(item, rules, names), rules, names)
        case CharClass():
            return f"/{node.regex}/"
        case Seq(parts):
            return " ".join(_expression(part, rules, names) for part in parts if part != Literal(""))
        case Alt(options):
            return "(" + " | ".join(_expression(option, rules, names) for option in options) + ")"
        case Repeat(item, low, high, separator):
            body = _expression(item, rules, names)
            if separator == Literal(""):
                return f"({body}){_times(low, high)}"
            further = _expression(Seq((separator, item)), rules, names)
            tail = "" if high == 1 else f" ({further}){_times(max(low - 1, 0), None if high is None else high - 1)}"
            return f"{body}{tail}" if low else f"({body}{tail})?"
    raise TypeError(f"not a grammar node: {node!r}")


def rule_name(
    node: Grammar,
    name: str,
    body: Callable[[], str],
    rules: dict[str, str],
    names: dict[Grammar, str],
    separator: str = "_",
) -> str:
    """The rule's name; equal nodes share a rule, different nodes with one name get different numbers.

    Args:
      body: makes the rule's text, which may add further rules.
      rules: name -> text. names: node -> name of its rule. separator: stands before the number.
    """
    if node not in names:
        unique, number = name, 1
        while unique in rules:
            number += 1
            unique = f"{name}{separator}{number}"
        names[node] = unique
        rules[unique] = ""  # reserve the name before descending
        rules[unique] = body()
    return names[node]


def _times(low: int, high: int | None) -> str:
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"
