"""``StoryClient``: asks a language model for prose, for a list or for a rating, and counts calls and tokens."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from polaris_jax.llm import CallFailed, Client, Reply, Request
from polaris_jax.rewards import word_pieces
from polaris_jax.trajectory.sentences import last_sentence_end

_TOKENS_PER_WORD = 1.6  # generous: an answer is cut to its number of words afterwards
_SYSTEM = "You are a novelist. You answer with the text that is asked for and nothing else: no title, no comment."


@dataclass
class StoryClient:
    """The calls of one story.

    Attributes:
      llm: the model that writes.
      temperature: temperature of prose and plans; ratings are greedy.
      seed: seed of every sample.
      purpose: category in the client's ``UsageTracker``.
      calls, tokens: answers so far, and their completion tokens.
      notes: plans and decisions, for the record.
    """

    llm: Client
    temperature: float = 0.8
    seed: int = 0
    purpose: str = "baseline"
    calls: int = 0
    tokens: int = 0
    notes: list[str] = field(default_factory=list)

    def prose(self, ask: str, words: int, sample: int = 0) -> str:
        """About ``words`` words of prose, cut at the end of a sentence.

        Raises:
          CallFailed: no usable answer.
        """
        return cut(self._reply(self._prose_request(ask, words, sample)).text.strip(), words)

    def drafts(self, ask: str, words: int, count: int) -> list[str]:
        """``count`` samples of ``prose``, concurrently; failed ones are left out.

        Raises:
          CallFailed: all of them failed.
        """
        replies = self.llm.ask_all([self._prose_request(ask, words, sample) for sample in range(count)])
        failed = [reply for reply in replies if isinstance(reply, CallFailed)]
        if len(failed) == len(replies):
            raise failed[0]
        return [cut(self._count(reply).text.strip(), words) for reply in replies if not isinstance(reply, CallFailed)]

    def points(self, ask: str, count: int, most_chars: int = 200) -> list[str]:
        """Exactly ``count`` one-line items.

        Raises:
          CallFailed: no usable answer.
        """
        item = {"type": "string", "minLength": 8, "maxLength": most_chars}
        schema = {"type": "array", "items": item, "minItems": count, "maxItems": count}
        request = self._request(ask, json.dumps(schema), 40 + count * (20 + most_chars // 2), self.temperature)
        found = [" ".join(str(line).split()) for line in self._reply(request).data]
        self.notes.append(f"{ask.splitlines()[0][:80]}: " + " | ".join(found))
        return found

    def rate(self, question: str, texts: Sequence[str]) -> list[int]:
        """A rating from 1 to 10 per text; 0 where the call failed, so that such a text is never preferred."""
        rating = {"type": "integer", "minimum": 1, "maximum": 10}
        schema = json.dumps(
            {"type": "object", "properties": {"rating": rating}, "required": ["rating"], "additionalProperties": False}
        )
        ask = f"{question}\n\nPassage:\n{{}}\n\nRate it from 1 (not at all) to 10 (fully)."
        requests = [self._request(ask.replace("{}", text), schema, 32, 0.0) for text in texts]
        replies = self.llm.ask_all(requests)
        return [0 if isinstance(r, CallFailed) else int(self._count(r).data["rating"]) for r in replies]

    def best(self, question: str, texts: Sequence[str]) -> str:
        """The text with the highest rating; the first of equal ones."""
        ratings = self.rate(question, texts)
        self.notes.append(f"ratings {ratings}")
        return texts[max(range(len(texts)), key=lambda index: ratings[index])]

    def _prose_request(self, ask: str, words: int, sample: int) -> Request:
        return Request(
            (("system", _SYSTEM), ("user", ask)),
            temperature=self.temperature,
            seed=self.seed,
            sample=sample,
            max_tokens=int(words * _TOKENS_PER_WORD) + 16,
            purpose=self.purpose,
        )

    def _request(self, ask: str, schema: str, max_tokens: int, temperature: float) -> Request:
        return Request(
            (("system", "You answer in JSON."), ("user", ask)),
            schema=schema,
            temperature=temperature,
            seed=self.seed,
            max_tokens=max_tokens,
            purpose=self.purpose,
        )

    def _reply(self, request: Request) -> Reply:
        return self._count(self.llm.ask(request))

    def _count(self, reply: Reply) -> Reply:
        self.calls += 1
        self.tokens += reply.completion_tokens
        return reply


def cut(text: str, words: int, least: float = 0.5) -> str:
    """At most ``words`` words, cut at the last sentence end beyond the share ``least``; paragraphs stay."""
    counted, whole = 0, 0
    for _, end, count in word_pieces(text):
        counted += count
        if counted > words:
            text = text[:whole]
            break
        whole = end
    ends = last_sentence_end(text)
    return text[:ends].rstrip() if ends > least * len(text) else text


def tail(text: str, words: int = 120) -> str:
    """The last ``words`` words of a text, from the beginning of a sentence where possible."""
    counted, begins = 0, len(text)
    for start, _, count in reversed(list(word_pieces(text))):
        counted += count
        if counted > words:
            break
        begins = start
    else:
        return text
    last = text[begins:]
    begun = re.search(r"[.!?][\"'”’]*\s+|[。！？][」』”’]*", last)
    return last[begun.end() :] if begun and begun.end() < len(last) // 2 else last


def bullet(lines: Sequence[str]) -> str:
    """Lines as a list."""
    return "\n".join(f"- {line}" for line in lines)
