"""One attempt at one step through a server: ask, watch for loops, close what is open.

The same three things can go wrong as with a local model (``sampling.attempt``), and they are handled in the same way. A
server keeps no state between requests, so after a cut the next request has the ``trajectory.continuation`` of the kept
text as its grammar. If the engine takes a grammar, it also covers the line in which the request begins: the tokens of
that line are then as in training.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from polaris_jax.sampling.book_model import RESERVE, AttemptContext, StepSample, WindowFull
from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.sampling.guard import last_clean_end
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.server.connection import Connection, ServerReply
from polaris_jax.sampling.server.engines import read_form
from polaris_jax.sampling.server.prompts import messages
from polaris_jax.sampling.server.repair import repaired, repaired_prose, tidy
from polaris_jax.sampling.settings import WriterSettings, step_seed
from polaris_jax.sampling.shortest_completion import shortest_completion
from polaris_jax.trajectory import EOT, Step, close_prose, count_words
from polaris_jax.trajectory.continuation import continuation, fixed_start, fixed_text
from polaris_jax.trajectory.grammar import Grammar, seq
from polaris_jax.trajectory.json_form import fill
from polaris_jax.trajectory.stages import FENCE

BYTES_PER_CHARACTER = 4
FORM_TOKENS = 2  # JSON of a text takes at most about twice its tokens
LOOK_EVERY = 64  # characters between two checks for a loop
# Scripts without spaces between words are cut by character.
_UNIT = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+|[^\w\s]")


class _Session(Protocol):
    text: str
    connection: Connection
    window: int
    tokens_seen: int

    def count(self, text: str) -> int: ...


@dataclass(frozen=True)
class TextUnits:
    """Words and marks of a text as numbers, the same for equal ones; the loop guard reads them instead of tokens.

    Attributes:
      numbers: one per unit; starts: the character at which each begins.
    """

    numbers: Sequence[int]
    starts: Sequence[int]

    @classmethod
    def of(cls, text: str) -> "TextUnits":
        """The units of a text."""
        known: dict[str, int] = {}
        found = list(_UNIT.finditer(text))
        return cls([known.setdefault(unit[0], len(known)) for unit in found], [unit.start() for unit in found])


class ServerAttempt:
    """One attempt at one step, which continues the transcript of ``session``.

    Raises:
      WindowFull: there is no room for the step.
    """

    def __init__(self, session: _Session, step: Step, settings: WriterSettings, context: AttemptContext):
        self.session, self.step, self.settings, self.context = session, step, settings, context
        self.engine = session.connection.engine
        self.forbidden = ForbiddenPhrases(settings.forbidden)
        context.text_diff.begin(step.prefill, 0, context.number)
        context.text_diff.push(step.prefill.encode(), context.number)
        self.before = session.text + step.prefill
        room = session.window - session.count(self.before) - RESERVE
        if room < max(1, min(context.budget, step.target_words)):
            raise self._window_full()
        self.budget = min(context.budget, room)
        self.text = ""
        self.reason = ""

    def run(self) -> StepSample:
        """The sampled text. If the engine takes no grammar, the text may break it."""
        options = self.settings.options(self.step, self.context.number)
        self._add(fixed_start(self.step.grammar))  # the server is not asked for text that is known
        text = self._prose(options) if self.step.target_words else self._list(options)
        return StepSample(text, self.reason, None)

    def _window_full(self) -> WindowFull:
        advice = f"is used up before {self.step.name}; raise it or ask for a shorter book"
        return WindowFull("--window", self.session.window, advice)

    # Lists.

    def _list(self, options: SamplingOptions) -> str:
        grammar = self.step.grammar
        start = continuation(grammar, self.text)
        assert start is not None, "the text so far is the grammar's own"
        reply = self._ask(start, options, self.budget)
        self.reason = "budget" if reply.cut else "complete"
        if grammar.matches(self.text):
            return self.text
        if reply.cut:
            rest = shortest_completion(grammar, self.text)
            if rest is None:
                return repaired(grammar, self.text)
            self.context.note("finished by its shortest continuation")
            if (missing := fixed_text(rest)) is not None:
                self._add(missing)
            else:
                # All free text of the completion is short, and the reserve is there for it.
                left = self.budget + RESERVE - self.session.count(self.text)
                self._ask(rest, options, max(1, min(left, math.ceil(BYTES_PER_CHARACTER * rest.longest) + 1)), cut=1)
            return self.text
        return repaired(grammar, self.text)

    # Prose.

    def _prose(self, options: SamplingOptions) -> str:
        cuts = extensions = 0
        last_cut: int | None = None
        while True:
            rest = continuation(self.step.grammar, self.text)
            left = self.budget - self.session.count(self.text)
            if rest is None or left <= 0:
                self.reason = "budget"
                break
            reply = self._ask(rest, options, left, cut=cuts + extensions)
            loop = self._loop_start()
            if loop is None:
                self.reason = "budget" if reply.cut else "complete"
                if extensions == self.settings.extend_short or not self._ended_short():
                    break
                self._keep(len(self.text.removesuffix(f"\n{FENCE}")))
                self._add("\n\n")
                extensions += 1
                continue
            self.reason = "loop"
            last_cut = self._cut_back(loop, last_cut)
            cuts += 1
            if cuts > self.settings.loop_cuts:
                self.context.note(f"closed where it was clean after {cuts} loops")
                break
            hotter = self.settings.loop_temperature + 0.2 * (cuts - 1)
            options = replace(options, temperature=max(options.temperature, hotter))
        return self._closed()

    def _closed(self) -> str:
        text = self.text
        if self.reason == "budget":
            self.context.note("closed at its token cap")
        if self.reason in ("budget", "loop") and text.strip("`\n "):
            text = close_prose(text)
        if not self.step.grammar.matches(text):
            text = repaired_prose(self.step.grammar, text)
        words = count_words(text.removesuffix(FENCE))
        if words < self.settings.short_share * self.step.target_words:
            self.context.note(f"short: {words} of {self.step.target_words} words")
        return text

    def _loop_start(self) -> int | None:
        """The character at which a loop or a forbidden phrase begins."""
        found = self.forbidden.first(self.text)
        if found:
            return found[0]
        units = TextUnits.of(self.text)
        start = self.settings.guard.first_loop(units.numbers)
        return None if start is None else units.starts[start]

    def _loops_at_its_end(self) -> bool:
        recent = self.text[-40 * self.settings.guard.window :]
        if self.forbidden.first(recent):
            return True
        return self.settings.guard.first_loop(TextUnits.of(recent).numbers) is not None

    def _cut_back(self, loop: int, last: int | None) -> int:
        """Cuts back to the last clean end before the loop, or before ``last``, the previous cut, which looped again."""
        length, before = last_clean_end(self.text[:loop]), len(self.text)
        why = "forbidden phrase" if self.forbidden.first(self.text) else "loop"
        if last is not None and length >= last:
            length = last_clean_end(self.text[:last].rstrip()[:-1])
        self.context.note(f"{why}: cut back from {before} to {length} characters")
        self._keep(length)
        return length

    def _ended_short(self) -> bool:
        words = count_words(self.text.removesuffix(FENCE))
        return self.reason == "complete" and words < self.settings.short_share * self.step.target_words

    # The server.

    def _ask(self, grammar: Grammar, options: SamplingOptions, budget: int, cut: int = 0) -> ServerReply:
        """Adds the answer to one request; ``grammar`` is that of the text after the text so far."""
        context, given = self.context, self.text
        transcript = self.before + given
        counted = 0

        prompt: str | list[dict[str, str]]
        if self.engine.chat:
            literal = ""
            prompt = messages(self.step, transcript, grammar, self.engine.form, context.complaint)
        else:
            # The last line is part of the grammar, which then decides how it is cut into tokens.
            at = transcript.rfind("\n") + 1 if self.engine.bind else len(transcript)
            prompt, literal = transcript[:at], transcript[at:]
        bound = seq(literal, grammar) if literal else grammar
        held = literal

        def on_text(new: str) -> bool:
            nonlocal held, counted
            if held:
                skipped = min(len(held), len(new))
                if new[:skipped] != held[:skipped]:  # the engine did not follow the grammar
                    skipped, held = 0, ""
                new, held = new[skipped:], held[skipped:]
            self._add(new)
            counted += len(new)
            if self.step.target_words and counted >= LOOK_EVERY:
                counted = 0
                return not self._loops_at_its_end()
            return True

        def restart() -> None:
            nonlocal held
            held = literal
            self._keep(len(given))

        reply = self.session.connection.ask(
            prompt,
            bound,
            options,
            seed=step_seed(context.seed, self.step, context.number, cut),
            most=budget * (FORM_TOKENS if self.engine.form else 1) + (self.session.count(literal) if literal else 0),
            on_text=on_text,
            restart=restart,
        )
        context.counts.sampled += reply.tokens
        context.counts.prefilled += reply.prompt_tokens - reply.cached
        context.counts.reused += reply.cached
        self.session.tokens_seen = reply.prompt_tokens + reply.tokens
        if self.engine.form:
            self._add(self._filled(grammar, reply.text))
        elif not self.engine.bind or continuation(grammar, self.text[len(given) :]) is None:
            self._tidy(len(given), transcript)
        return reply

    def _filled(self, grammar: Grammar, answer: str) -> str:
        try:
            return fill(grammar, read_form(answer))
        except ValueError as error:
            self.context.note(f"an answer that is not the form: {str(error)[:120]}")
            return ""

    def _tidy(self, start: int, transcript: str) -> None:
        answer = self.text[start:]
        clean = tidy(answer.partition(EOT)[0], transcript)
        if clean != answer:
            self._keep(start)
            self._add(clean)

    def _add(self, text: str) -> None:
        if text:
            self.text += text
            self.context.text_diff.push(text.encode(), self.context.number)

    def _keep(self, length: int) -> None:
        """Forgets all but the first ``length`` characters of this attempt."""
        if length < len(self.text):
            self.text = self.text[:length]
            self.context.text_diff.truncate(len(self.step.prefill) + length, self.context.number)
