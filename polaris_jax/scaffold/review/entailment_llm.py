"""Asks a language model whether passages support bullets: yes or no, with its probability where the server gives it."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from polaris_jax.llm import CallFailed, Client, Reply, Request
from polaris_jax.scaffold.llm import prompts
from polaris_jax.scaffold.llm.context_budget import windows

_NOTES = 8  # most bullets per question: small models lose count of more
_PASSAGE = 2_400  # tokens of a piece of a passage; with notes and answer it fits a window of 4,096
_ROOM = 768  # tokens of an answer beyond its words: for a few thoughts
_ALTERNATIVES = 5
_WORDS = {"yes": 0.9, "no": 0.1}  # probability for a word without log-probabilities
_SAID = re.compile(r'"(\d+)"\s*:\s*"(yes|no)')


class ModelEntailment:
    """Implements ``Entailment`` over a client, which keeps cache, budget and retries.

    A question shows one piece of a passage and up to eight bullets. If a piece gets no answer, its bullets have none.
    """

    version = "1"  # of the instruction; raise it so that cached questions are asked again

    def __init__(self, client: Client):
        self.identity, self.client = client.identity, client
        self._alternatives, self._known = _ALTERNATIVES, False

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """See ``Entailment.probabilities``."""
        bullets: dict[str, dict[str, None]] = {}
        for passage, bullet in pairs:
            bullets.setdefault(passage, {})[bullet] = None
        asked: list[tuple[str, list[str], Request]] = []
        for passage, found in bullets.items():
            lines = list(found)
            groups = [lines[start : start + _NOTES] for start in range(0, len(lines), _NOTES)]
            asked += [
                (passage, group, self._request(piece, group))
                for piece in windows(passage, _PASSAGE)
                for group in groups
            ]
        said: dict[tuple[str, str], list[float | None]] = {}
        for (passage, group, _), reply in zip(asked, self._ask([request for *_, request in asked]), strict=True):
            for bullet, found_probability in zip(group, _read(reply, len(group)), strict=True):
                said.setdefault((passage, bullet), []).append(found_probability)
        return [_best(said[pair]) for pair in pairs]

    def close(self) -> None:
        """See ``Entailment.close``."""
        self.client.close()

    def _request(self, passage: str, lines: Sequence[str]) -> Request:
        numbers = [str(number) for number in range(1, len(lines) + 1)]
        notes = "\n".join(f"{number}. {line}" for number, line in zip(numbers, lines, strict=True))
        word = {"type": "string", "enum": list(_WORDS), "maxLength": 3}
        schema = {
            "type": "object",
            "properties": dict.fromkeys(numbers, word),
            "required": numbers,
            "additionalProperties": False,
        }
        return Request(
            (("system", prompts.text("entailment")), ("user", f"{passage.strip()}\n\n---\nNotes:\n{notes}")),
            schema=json.dumps(schema),
            max_tokens=_ROOM + 16 * len(lines),
            purpose="plan judge",
            version=self.version,
        )

    def _ask(self, requests: Sequence[Request]) -> list[Reply | CallFailed]:
        """Asks with log-probabilities; without, if the server refuses the first question for them."""
        if not requests:
            return []
        first: list[Reply | CallFailed] = []
        if self._alternatives and not self._known:
            first = self.client.ask_all([replace(requests[0], logprobs=self._alternatives)])
            if isinstance(first[0], CallFailed) and first[0].kind == "bad_request":
                self._alternatives, first = 0, []
            self._known = True
        rest = [replace(one, logprobs=self._alternatives) for one in requests[len(first) :]]
        return [*first, *self.client.ask_all(rest)] if rest else first


def _best(said: Iterable[float | None]) -> float | None:
    """The best piece counts; a piece without an answer leaves it open."""
    found = list(said)
    known = [one for one in found if one is not None]
    return max(known) if len(known) == len(found) else None


def _read(reply: Reply | CallFailed, count: int) -> list[float | None]:
    """The probability of yes for every note."""
    if isinstance(reply, CallFailed):
        return [None] * count
    words = [reply.data[str(number)] for number in range(1, count + 1)]
    sure = _log_probabilities(reply)
    return [sure.get(number, _WORDS[word]) for number, word in enumerate(words, 1)]


def _log_probabilities(reply: Reply) -> dict[int, float]:
    """Number of a note -> probability of yes against no, for notes whose token has both among its alternatives."""
    text = "".join(token for token, _ in reply.logprobs)
    starts, place = {}, 0
    for index, (token, _) in enumerate(reply.logprobs):
        starts.update(dict.fromkeys(range(place, place + len(token)), index))
        place += len(token)
    found = {}
    for match in _SAID.finditer(text):
        chances = {"yes": 0.0, "no": 0.0}
        for token, logprob in reply.logprobs[starts[match.start(2)]][1]:
            word = re.sub(r"[^a-z]", "", token.lower())
            if word in chances:
                chances[word] += math.exp(logprob)
        if all(chances.values()):
            found[int(match.group(1))] = chances["yes"] / sum(chances.values())
    return found
