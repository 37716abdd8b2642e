"""Tokenises rows of any format for a store: a chat, a completion, a pair, a document or a trajectory.

A text to learn has the role ``chapter_text`` and the kind ``prose``, like the prose of trajectories. Its end token is
``scaffold``. What is only read is ``prompt``, with weight 0. So losses are comparable across formats.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from polaris_jax import storage
from polaris_jax.data.chat import ChatTemplate
from polaris_jax.data.chat_mask import encode_chat
from polaris_jax.data.control_text import harmless, spell
from polaris_jax.data.encode import encode_transcript, truncate
from polaris_jax.data.formats import Chat, Pair, PlainDocument, Record, Transcript
from polaris_jax.data.formats.records import Message
from polaris_jax.data.record import Trajectory
from polaris_jax.data.tokenizer import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.trajectory import KINDS, ROLES

CHOSEN, REJECTED = "chosen", "rejected"
_READ, _TEXT = ROLES.index("prompt"), ROLES.index("chapter_text")
_PROMPT, _PROSE, _END = KINDS.index("prompt"), KINDS.index("prose"), KINDS.index("scaffold")
_ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "<|eot_id|>")
_PARAGRAPH = re.compile(r"\n[ \t]*\n\s*(?=\S)")
_SENTENCE = re.compile(r"[.!?…][\"'”’)]*\s+(?=\S)")
_LEAST_FILL = 0.5  # share of a window that a cut at a paragraph must fill; else the cut is at a sentence


@dataclass(frozen=True)
class RowPiece:
    """One trajectory of a row, and its own metadata: its side of a pair, its part of a document."""

    trajectory: Trajectory
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def learned(self) -> int:
        """How many of its tokens are learned; the first token is never a target."""
        return int((self.trajectory.weights[1:] > 0).sum())


@dataclass(frozen=True)
class EncodedRow:
    """The ``pieces`` of a row, or none and the reason in ``left_out``; ``notes`` say what was done to it."""

    pieces: tuple[RowPiece, ...]
    left_out: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowEncoder:
    """Encodes rows for one model.

    Attributes:
      template: the model's chat template, or None.
      end_id: the token that ends a text, or None.
      window: the most tokens a trajectory may have; 0 is no limit. Documents are cut at paragraphs, chats after a turn,
        and trajectories after a chapter; what cannot be cut is left out.
      learn: ``assistant`` (only its turns and completions) or ``all`` (prompts too). In pairs, always the answers.
      chat: whether prompts and answers that are plain texts are put into the chat template, if there is one.
    """

    tokenizer: Tokenizer
    template: ChatTemplate | None
    end_id: int | None
    window: int = 0
    learn: Literal["assistant", "all"] = "assistant"
    chat: bool = True

    def __call__(self, record: Record) -> EncodedRow:
        """The trajectories of a record.

        Raises:
          InputError: no chat template for a chat, one that refuses it, text the tokenizer cannot spell, a broken
            trajectory.
        """
        if isinstance(record, PlainDocument):
            return self._document(record)
        if isinstance(record, Transcript):
            return self._transcript(record)
        if isinstance(record, Pair):
            return self._pair(record)
        if isinstance(record, Chat):
            return self._fit_chat(*self._chat(record.messages, record.learn))
        if self.template is not None and self.chat:
            messages = [{"role": "system", "content": record.system}] if record.system.strip() else []
            messages += [
                {"role": "user", "content": record.prompt},
                {"role": "assistant", "content": record.completion},
            ]
            return self._fit_chat(*self._chat(messages, [False] * (len(messages) - 1) + [True]))
        prompt = record.plain_prompt or "\n\n".join(filter(str.strip, [record.system, record.prompt]))
        whole, notes = self._joined(prompt, record.completion)
        return self._whole(whole, notes)

    def _chat(self, messages: Sequence[Message], learn: Sequence[bool]) -> tuple[Trajectory, np.ndarray, list[str]]:
        """Tokens of a chat, the turn of each learned token, and notes."""
        if self.template is None:
            raise InputError(
                "chat_template",
                None,
                "the model has none and a chat needs one; give --chat-template=FILE, or an instruction-tuned model",
            )
        chat = encode_chat(self.template, messages, learn)
        notes = ["the chat template leaves the thinking of earlier turns out"] if chat.thoughts_left_out else []
        end = chat.tokens == (-1 if self.template.end_id is None else self.template.end_id)
        weights = (chat.turns >= 0).astype(np.float32)
        return self._labelled(chat.tokens, weights, end), chat.turns, notes

    def _labelled(self, tokens: np.ndarray, weights: np.ndarray, end: np.ndarray) -> Trajectory:
        learned = weights > 0
        roles = np.where(learned, _TEXT, _READ).astype(np.int8)
        kinds = np.where(learned, np.where(end, _END, _PROSE), _PROMPT).astype(np.int8)
        return Trajectory(tokens.astype(np.int32), roles, kinds, weights)

    def _everything(self, whole: Trajectory) -> Trajectory:
        """The same trajectory with every token learned, except a BOS."""
        weights = np.ones(len(whole), np.float32)
        if len(whole) and whole.tokens[0] == self.tokenizer.bos_id:
            weights[0] = 0
        return Trajectory(whole.tokens, whole.roles, whole.kinds, weights)

    def _fit_chat(self, whole: Trajectory, turns: np.ndarray, notes: list[str]) -> EncodedRow:
        """A chat, cut after the last learned turn that fits."""
        if self.window and len(whole) > self.window:
            ends = 1 + np.flatnonzero((turns >= 0) & (np.append(turns[1:], -1) != turns))
            fitting = ends[ends <= self.window]
            if not len(fitting):
                return EncodedRow((), self._too_long(len(whole)))
            notes = [*notes, f"cut after the last turn that fits the window of {self.window:,} tokens"]
            whole = whole.cut(0, int(fitting[-1]))
        return self._whole(whole, notes)

    def _whole(self, whole: Trajectory, notes: Sequence[str]) -> EncodedRow:
        if self.window and len(whole) > self.window:
            return EncodedRow((), self._too_long(len(whole)))
        if self.learn == "all":
            whole = self._everything(whole)
        return EncodedRow((RowPiece(whole),), notes=tuple(notes))

    def _too_long(self, size: int) -> str:
        return f"has {size:,} tokens, more than the window of {self.window:,}"

    def _joined(self, prompt: str, answer: str) -> tuple[Trajectory, list[str]]:
        """Prompt and answer as one text without a template, followed by the end-of-text token."""
        notes = []
        if prompt and not prompt[-1].isspace() and not answer[0].isspace():
            prompt += "\n\n"
            notes = ["a blank line was put between prompt and answer, which had no white space between them"]
        before = harmless(self.tokenizer, prompt)
        tokens, owners = spell(self.tokenizer, before + harmless(self.tokenizer, answer), [0, len(before)])
        return self._framed(tokens, (owners == 1) | (not before)), notes

    def _framed(self, tokens: np.ndarray, learned: np.ndarray, *, begins: bool = True, ends: bool = True) -> Trajectory:
        """Tokens of a text with the BOS and end-of-text tokens."""
        first = [self.tokenizer.bos_id] if begins and self.tokenizer.bos_id is not None else []
        last = [self.end_id] if ends and self.end_id is not None else []
        weights = np.concatenate([np.zeros(len(first)), learned, np.ones(len(last))]).astype(np.float32)
        end = np.arange(len(weights)) >= len(weights) - len(last)
        return self._labelled(
            np.concatenate([np.array(part, np.int32) for part in (first, tokens, last)]), weights, end
        )

    def _document(self, record: PlainDocument) -> EncodedRow:
        text = harmless(self.tokenizer, record.text)
        edges, ranks = _places_to_cut(text)
        tokens, owners = spell(self.tokenizer, text, edges)
        frame = (self.tokenizer.bos_id is not None) + (self.end_id is not None)
        room = self.window - frame if self.window else len(tokens)
        if room < 1:
            raise InputError("--window", self.window, "is too small for any text")
        cuts = _cuts(owners, ranks, room)
        pieces = []
        for number, (start, stop) in enumerate(pairwise(cuts), 1):
            part = self._framed(tokens[start:stop], np.ones(stop - start), ends=stop == len(tokens))
            pieces.append(RowPiece(part, {"part": number, "parts": len(cuts) - 1}))
        notes = [f"not in the text: {', '.join(record.dropped)}"] if record.dropped else []
        return EncodedRow(tuple(pieces), notes=tuple(notes))

    def _transcript(self, record: Transcript) -> EncodedRow:
        whole = encode_transcript(record.text, self.tokenizer)
        if not self.window or len(whole) <= self.window:
            return EncodedRow((RowPiece(whole),))
        cut = truncate(whole, self.window, self.tokenizer.eot_id)
        if cut is None:
            return EncodedRow((), f"{self._too_long(len(whole))}: fewer than 60 % of its chapters fit")
        return EncodedRow((RowPiece(cut),), notes=(f"cut after the last chapter that fits {self.window:,} tokens",))

    def _pair(self, record: Pair) -> EncodedRow:
        sides: list[Trajectory] = []
        notes: list[str] = []
        for answer in (record.chosen, record.rejected):
            if record.plain and (self.template is None or not self.chat):
                prompt = "\n\n".join(message["content"] for message in record.prompt)
                whole, said = self._joined(prompt, answer[0]["content"])
            else:
                learn = [False] * len(record.prompt) + [message["role"] == "assistant" for message in answer]
                whole, _, said = self._chat([*record.prompt, *answer], learn)
            sides.append(whole)
            notes += said
        longest = max(map(len, sides))
        if self.window and longest > self.window:
            return EncodedRow((), self._too_long(longest))
        pieces = (RowPiece(side, {"side": name}) for side, name in zip(sides, (CHOSEN, REJECTED), strict=True))
        return EncodedRow(tuple(pieces), notes=tuple(dict.fromkeys(notes)))


def end_of_text(model: str, tokenizer: Tokenizer) -> int | None:
    """The end-of-text token: the ``eos_token`` of ``tokenizer_config.json``, or a usual name in the vocabulary."""
    folder = model if os.path.isdir(model) or storage.is_remote(model) else os.path.dirname(model) or "."
    named = (storage.read_json(storage.join(folder, "tokenizer_config.json")) or {}).get("eos_token")
    named = named.get("content") if isinstance(named, dict) else named
    for name in (named, *_ENDS):
        if name in tokenizer.control_tokens:
            return tokenizer.control_tokens[name]
    return None


def _places_to_cut(text: str) -> tuple[list[int], np.ndarray]:
    """Offsets at which paragraphs (rank 2) and sentences (rank 1) begin, the first 0, and their ranks."""
    ranks = {match.end(): 1 for match in _SENTENCE.finditer(text)}
    ranks |= {match.end(): 2 for match in _PARAGRAPH.finditer(text)} | {0: 2}
    edges = sorted(ranks)
    return edges, np.array([ranks[edge] for edge in edges])


def _cuts(owners: np.ndarray, ranks: np.ndarray, room: int) -> list[int]:
    """Where to cut a document: token indices from 0 to the number of tokens, at most ``room`` apart.

    A cut is the last start of a paragraph that fits, if it fills half of the room; else the last start of a sentence
    that fits; else the room is filled.
    """
    size = len(owners)
    first = 1 + np.flatnonzero(np.diff(owners) > 0)  # tokens that begin a span
    best = {rank: first[ranks[owners[first]] >= rank].tolist() for rank in (1, 2)}
    cuts = [0]
    while size - cuts[-1] > room:
        limit = cuts[-1] + room
        chosen = limit
        for rank in (2, 1):
            index = bisect_right(best[rank], limit) - 1
            if index >= 0 and best[rank][index] >= cuts[-1] + _LEAST_FILL * room:
                chosen = best[rank][index]
                break
        cuts.append(chosen)
    return [*cuts, size]
