"""Separates the thoughts of a reasoning model from its reply while the reply is written."""

from dataclasses import dataclass

# Opening and closing tags by family: Qwen, DeepSeek, SmolLM3 and many more; Mistral's Magistral.
TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))


@dataclass(frozen=True)
class ReasoningSplitter:
    """How the replies to one prompt are split.

    Attributes:
      tags: the model's opening and closing tag.
      inside: whether the prompt has opened the thoughts already, as with some templates.
    """

    tags: tuple[str, str]
    inside: bool

    def begin(self) -> "ReplySplit":
        """The split of one reply."""
        return ReplySplit(self)


class ReplySplit:
    """A reply while it grows. Only thoughts at its very beginning are separated."""

    def __init__(self, splitter: ReasoningSplitter):
        self._open, self._close = splitter.tags
        self._state = "opened" if splitter.inside else "start"
        self._held = ""

    def push(self, text: str, last: bool = False) -> tuple[str, str]:
        """``(thoughts, reply)`` that become final with ``text``; ``last`` also releases the text held back."""
        self._held += text
        thoughts = reply = ""
        if self._state == "start":
            begun = self._held.lstrip()
            if begun.startswith(self._open):
                self._state, self._held = "opened", begun[len(self._open) :]
            elif last or not self._open.startswith(begun):
                self._state = "reply"
        if self._state == "opened":  # newlines after the tag are no part of the thoughts
            self._held = self._held.lstrip("\n")
            self._state = "thoughts" if self._held else "opened"
        if self._state == "thoughts":
            before, closed, after = self._held.partition(self._close)
            if closed:
                thoughts, self._state, self._held = before.rstrip("\n"), "gap", after
            else:
                # The tag may have begun, and the newlines before it are no part of the thoughts.
                kept = 0 if last else _tail(self._held, self._close)
                thoughts, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        if self._state == "gap":
            self._held = self._held.lstrip("\n")
            self._state = "reply" if self._held else "gap"
        if self._state == "reply":
            reply, self._held = self._held, ""
        return thoughts, reply


def _tail(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that consists of newlines and the beginning of ``tag``."""
    begun = next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if text.endswith(tag[:size])), 0)
    body = text[: len(text) - begun]
    return len(text) - len(body.rstrip("\n"))


def find_tags(template: str) -> tuple[str, str] | None:
    """The tags that a chat template writes around thoughts, if any."""
    return next((tags for tags in TAGS if tags[1] in template), None)
