"""Which tokens of a conversation are learned: only those of the assistant's turns, with their end token.

A template with ``{% generation %}`` tags marks the turns itself. For other templates the turns are found in the
rendering: every message is rendered with marks around its text, and without the marks the result must equal the plain
rendering. An assistant's turn begins where the generation prompt ends, and ends with the template's end token. A
thinking block that the template writes belongs to the turn, because the model has to write it too. The whole rendering
is tokenised at once; a token that crosses a border belongs to the side of its first byte.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.data.chat import TAG_START, TAG_STOP, ChatTemplate, Message
from polaris_jax.data.control_text import harmless, spell
from polaris_jax.errors import InputError

_START, _STOP = "\ue004", "\ue005"  # each followed by the number of its message, as one private-use character
_FIRST = 0xF0000
MAX_MESSAGES = 0xFFFD
_MARKS = re.compile(f"([{_START}{_STOP}])([\U000f0000-\U000ffffd])|[{TAG_START}{TAG_STOP}]")
_THOUGHT = "</think>"
_OWN = re.compile(f"[{_START}{_STOP}{TAG_START}{TAG_STOP}]")


@dataclass(frozen=True)
class EncodedChat:
    """A tokenised conversation.

    Attributes:
      tokens: int32 [n], those of ``ChatTemplate.encode(..., add_generation_prompt=False)``.
      turns: int32 [n]: the number of the message that a learned token belongs to, -1 where nothing is learned.
      thoughts_left_out: turns whose thinking the template does not write.
    """

    tokens: np.ndarray
    turns: np.ndarray
    thoughts_left_out: int = 0


@dataclass(frozen=True)
class _Rendering:
    """A marked rendering: its plain text, and where each message's text starts and stops in it.

    ``marks`` are ``(offset, mark, message)`` in order; ``tags`` are the spans between generation tags.
    """

    text: str
    marks: tuple[tuple[int, str, int], ...]
    tags: tuple[tuple[int, int], ...]

    def place(self, mark: str, message: int) -> int | None:
        return next((at for at, kind, number in self.marks if (kind, number) == (mark, message)), None)


def encode_chat(
    template: ChatTemplate, messages: Sequence[Message], learn: Sequence[bool] | None = None
) -> EncodedChat:
    """Tokenises a conversation and marks what is learned.

    Args:
      messages: ``{"role", "content"}``; further keys go to the template.
      learn: per message, whether it is learned; default: every message of the assistant.

    Raises:
      InputError: a template that refuses the conversation, leaves a message out, or changes a text so that its end
        cannot be found.
    """
    if learn is None:
        learn = [message.get("role") == "assistant" for message in messages]
    if len(messages) > MAX_MESSAGES:
        raise InputError("messages", len(messages), f"at most {MAX_MESSAGES} messages in a conversation")
    shown = [harmless(template.tokenizer, message) for message in messages]
    whole = _render(template, shown)
    for number, message in enumerate(messages):
        if None in (whole.place(_START, number), whole.place(_STOP, number)):
            advice = f"the chat template leaves message {number + 1} ({message.get('role')}) out"
            raise InputError("messages", message.get("content"), advice)
        for name in ("reasoning_content", "thinking"):
            if message.get(name) and harmless(template.tokenizer, message[name]).strip() not in whole.text:
                raise InputError(f"messages: {name}", message[name], f"the chat template leaves it out ({number + 1})")
    headers: dict[tuple[str, str], int] = {}
    spans = [(*_turn(template, shown, whole, number, headers), number) for number, wanted in enumerate(learn) if wanted]
    edges, labels = [0], [-1]
    for start, stop, number in sorted(spans):
        for edge, label in ((start, number), (stop, -1)):
            if edge == edges[-1]:
                labels[-1] = label
            else:
                edges.append(edge)
                labels.append(label)
    tokens, owners = spell(template.tokenizer, whole.text, edges)
    dropped = sum(
        _THOUGHT in shown[number]["content"] and _THOUGHT not in whole.text[start:stop] for start, stop, number in spans
    )
    return EncodedChat(tokens, np.array(labels, np.int32)[owners], dropped)


def _render(template: ChatTemplate, shown: Sequence[Message], *, prompt: bool = False) -> _Rendering:
    """Renders messages without control strings (``harmless``), with marks around the text of each.

    Raises:
      InputError: the marks change the rendering.
    """
    marked = template.text(
        [_marked(message, number) for number, message in enumerate(shown)], add_generation_prompt=prompt, mark_tags=True
    )
    plain: list[str] = []
    marks: list[tuple[int, str, int]] = []
    tags: list[tuple[int, int]] = []
    at, read, opened = 0, 0, 0
    for found in _MARKS.finditer(marked):
        plain.append(marked[read : found.start()])
        at += found.start() - read
        read = found.end()
        if found[0] == TAG_START:
            opened = at
        elif found[0] == TAG_STOP:
            tags.append((opened, at))
        else:
            marks.append((at, found[1], ord(found[2]) - _FIRST))
    plain.append(marked[read:])
    text = "".join(plain)
    if text != template.text(shown, add_generation_prompt=prompt) or len({mark[1:] for mark in marks}) != len(marks):
        raise InputError(
            "chat_template",
            str([message.get("content") for message in shown])[:60],
            "it changes a message's text so that its turn cannot be told; give another with --chat-template",
        )
    return _Rendering(text, tuple(marks), tuple(tags))


def _marked(message: Message, number: int) -> dict:
    """The message with marks around its text. White space, which a template may trim, and thinking stay outside."""
    content = message["content"]
    if _OWN.search(content):
        raise InputError("messages", content, "holds private-use characters (U+E004 to U+E007); replace them")
    end = len(content.rstrip())
    thought = content.rfind(_THOUGHT)
    start = 0 if thought < 0 else thought + len(_THOUGHT)
    start += len(content[start:]) - len(content[start:].lstrip())
    start, end = min(start, len(content)), max(end, min(start, len(content)))
    name = chr(_FIRST + number)
    return {**message, "content": content[:start] + _START + name + content[start:end] + _STOP + name + content[end:]}


def _turn(
    template: ChatTemplate,
    shown: Sequence[Message],
    whole: _Rendering,
    number: int,
    headers: dict[tuple[str, str], int],
) -> tuple[int, int]:
    """Where the assistant's turn ``number`` begins and ends in the rendering; its end token is included.

    Args:
      headers: a cache of header lengths, by the text between the two messages; filled here.

    Raises:
      InputError: a tagged template without tags around it.
    """
    start, stop = whole.place(_START, number), whole.place(_STOP, number)
    assert start is not None
    assert stop is not None
    if whole.tags:
        tag = next(((a, b) for a, b in whole.tags if a <= start and stop <= b), None)
        if tag is None:
            raise InputError("chat_template", shown[number]["content"][:60], "has no generation tags around this turn")
        start, stop = tag
    else:
        start = _after_header(template, shown, whole, number, start, headers)
    end = re.compile(r"\s*").match(whole.text, stop)
    token = template.tokenizer.control_pattern.match(whole.text, end.end() if end else stop)
    if token is not None and template.tokenizer.control_tokens[token[0]] == template.end_id:
        stop = token.end()
    return start, stop


def _after_header(
    template: ChatTemplate,
    shown: Sequence[Message],
    whole: _Rendering,
    number: int,
    start: int,
    headers: dict[tuple[str, str], int],
) -> int:
    """Where the generation prompt of turn ``number`` ends; ``start`` is where the message's own text begins."""
    before = [mark[1:] for mark in whole.marks].index((_START, number)) - 1
    if before < 0 or whole.marks[before][1:] != (_STOP, number - 1):
        return _own_text(template, shown, whole, number, start)  # the first message, or one without its neighbour
    stopped = whole.marks[before][0]
    gap, role = whole.text[stopped:start], shown[number - 1]["role"]
    if (gap, role) not in headers:
        asked = _render(template, shown[:number], prompt=True)
        if asked.marks[-1][1:] != (_STOP, number - 1):
            return _own_text(template, shown, whole, number, start)
        shared = _shared(gap, asked.text[asked.marks[-1][0] :])
        if template.tokenizer.control_pattern.search(gap, shared) and not _writes_prompt(template, shown[:number]):
            return _own_text(template, shown, whole, number, start)  # no header in the generation prompt
        headers[gap, role] = shared
    return stopped + headers[gap, role]


def _shared(one: str, other: str) -> int:
    """The length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _writes_prompt(template: ChatTemplate, shown: Sequence[Message]) -> bool:
    return template.text(shown, add_generation_prompt=True) != template.text(shown)


def _own_text(template: ChatTemplate, shown: Sequence[Message], whole: _Rendering, number: int, start: int) -> int:
    """Where the text of message ``number`` begins, including leading white space that the template has kept."""
    content = shown[number]["content"]
    if content[:1].strip() or _THOUGHT in content:
        return start
    bare = [{**message, "content": content.lstrip()} if n == number else message for n, message in enumerate(shown)]
    return start - (len(whole.text) - len(template.text(bare)))
