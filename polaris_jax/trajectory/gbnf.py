"""A grammar node printed as GBNF, the grammar format of llama.cpp, with ``root`` as the entry rule.

Named groups become rules, as in ``lark``. llama.cpp accepts no repeat of more than ``LARGEST`` items, so a wider one is
written as blocks of a hundred.
"""

from polaris_jax.trajectory.charset import LAST, CharSet
from polaris_jax.trajectory.grammar import Alt, CharClass, Grammar, Literal, Named, Repeat, Seq
from polaris_jax.trajectory.lark import rule_name

LARGEST, BLOCK = 500, 100
Rules = dict[str, str]


def gbnf(node: Grammar) -> str:
    """Grammar text with entry rule ``root``; it describes the language of ``node`` exactly."""
    rules: Rules = {"root": ""}
    rules["root"] = _expression(node, rules, {}) or '""'
    return "\n".join(f"{name} ::= {body}" for name, body in rules.items()) + "\n"


def _expression(node: Grammar, rules: Rules, names: dict[Grammar, str]) -> str:
    match node:
        case Literal(text):
            return '"' + "".join(_quoted(char, '"\\') for char in text) + '"' if text else '""'
        case Named(name, item):  # a ``Token`` too: llama.cpp has no lexer
            rule = name.lower().replace("_", "-")
            return rule_name(node, rule, lambda: _expression(item, rules, names), rules, names, separator="-")
        case CharClass(chars, low, high):
            return _repeated(_class(chars), low, high, rules)
        case Seq(parts):
            return " ".join(_expression(part, rules, names) for part in parts if part != Literal("")) or '""'
        case Alt(options):
            return "(" + " | ".join(_expression(option, rules, names) for option in options) + ")"
        case Repeat(item, low, high, separator):
            body = f"({_expression(item, rules, names)})"
            if separator == Literal(""):
                return _repeated(body, low, high, rules)
            further = f"({_expression(Seq((separator, item)), rules, names)})"
            many = f"{body} {_repeated(further, max(low - 1, 0), None if high is None else high - 1, rules)}"
            return many if low else f"({many})?"
    raise TypeError(f"not a grammar node: {node!r}")


def _repeated(item: str, low: int, high: int | None, rules: Rules) -> str:
    if high == 0:
        return '""'
    if max(low, high or 0) <= LARGEST:
        return item + _times(low, high)
    block = _shared(f"{item}{{{BLOCK}}}", rules)
    whole, rest = divmod(low, BLOCK)
    least = " ".join([f"{block}{_times(whole, whole)}"] * bool(whole) + [f"{item}{_times(rest, rest)}"] * bool(rest))
    if high is None:
        return f"{least} {item}*"
    blocks, rest = divmod(high - low, BLOCK)
    # Fewer whole blocks than fit, then up to a block of items; or all whole blocks, then the remaining items.
    fewer = f"{_repeated(block, 0, blocks - 1, rules)} {item}{{0,{BLOCK - 1}}}" if blocks else ""
    most = (
        f"{_repeated(block, blocks, blocks, rules)} {item}{_times(0, rest)}"
        if rest
        else f"{block}{_times(blocks, blocks)}"
    )
    return f"{least} ({fewer} | {most})".strip()


def _shared(body: str, rules: Rules) -> str:
    """The name of a rule with this body, made if there is none."""
    for name, known in rules.items():
        if known == body:
            return name
    name = f"block-{len(rules)}"
    rules[name] = body
    return name


def _times(low: int, high: int | None) -> str:
    if (low, high) == (1, 1):
        return ""
    if high is None:
        return {0: "*", 1: "+"}.get(low, f"{{{low},}}")
    if low == high:
        return f"{{{low}}}"
    return "?" if (low, high) == (0, 1) else f"{{{low},{high}}}"


def _class(chars: CharSet) -> str:
    negated = len(chars.ranges) > 1 and chars.ranges[-1][1] == LAST
    ranges = (~chars if negated else chars).ranges
    body = "".join(
        _quoted(chr(low), "]^-\\[") + ("" if low == high else "-" + _quoted(chr(high), "]^-\\["))
        for low, high in ranges
    )
    return f"[{'^' if negated else ''}{body}]"


def _quoted(char: str, special: str) -> str:
    """A character as itself where that is safe, else as an escape."""
    code = ord(char)
    if char == "\n":
        return "\\n"
    if 0x20 <= code < 0x7F and char not in special:
        return char
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"
