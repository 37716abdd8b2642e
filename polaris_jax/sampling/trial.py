"""One attempt at a step, which in any case comes to an end and leaves a text of the step's grammar.

Three things can go wrong. The token budget runs out: prose is closed at its last sentence, lists are finished by
their shortest continuation. Prose loops: it is cut back to the last clean paragraph and goes on with more noise, and
is closed there when that does not help. Prose ends far too soon: it may be made to go on with another paragraph.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace

from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.closing import remainder
from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.generate import Counts, Stretch, generate
from polaris_jax.sampling.guard import LoopGuard, last_clean_end, tokens_within
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.telling import Teller
from polaris_jax.trajectory import Step, close_prose, count_words
from polaris_jax.trajectory.grammar import seq
from polaris_jax.trajectory.stages import FENCE

# Slots kept free at the end of the window for closing what is open (trajectory specification 5.1).
RESERVE = 256
BYTES_PER_CHARACTER = 4


class WindowFull(InputError):
    """The step has no room left in the window."""


def step_seed(seed: int, step: Step, attempt: int, cut: int = 0) -> int:
    """32 bits that depend on the run's seed and on where in the book and in which try they are used."""
    place = f"{seed}/{step.name}/{step.start}/{attempt}/{cut}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "little")


class Trial:
    """One attempt at one step of ``manuscript``.

    Args:
      seed: of the run; attempt: from 0.
      budget: most tokens to sample.
      counts: gets the tokens added.
      teller: hears the text; note: hears what is out of the ordinary.

    Attributes:
      reason: why the sampling stopped (``generate.Stretch``).
      logprob: sum over the drawn tokens under the model itself, nats; drawn: how many there were.

    Raises:
      WindowFull: there is no room for the step.
    """

    def __init__(
        self,
        manuscript: Manuscript,
        step: Step,
        settings: WriterSettings,
        seed: int,
        attempt: int,
        budget: int,
        vocabulary: LLTokenizer,
        counts: Counts,
        teller: Teller,
        note: Callable[[str], None],
    ):
        self.step, self.settings, self.seed, self.attempt = step, settings, seed, attempt
        self.session, self.vocabulary, self.counts, self.note = manuscript.session, vocabulary, counts, note
        self._tokenizer = manuscript.session.sampler.tokenizer
        self._pieces = self._tokenizer.token_bytes()
        self._teller = teller
        opening = manuscript.open(step.prefill)
        self.literal, self._old = opening.literal, opening.old
        teller.begin(self.literal, opening.old, attempt)
        counts.prefilled += opening.read
        self.node = seq(self.literal, step.grammar) if self.literal else step.grammar
        self.base = self.session.lengths[0]
        given = len(self._tokenizer.encode(self.literal))
        room = self.session.sampler.max_length - self.base - RESERVE - given
        # A chapter that cannot even have a token per word would only be a stump.
        if room < max(1, min(budget, step.target_words)):
            raise self._window_full()
        self.budget = given + min(budget, room)
        self.tokens: list[int] = []
        self.logprob, self.drawn = 0.0, 0
        self.reason = ""

    def run(self) -> str:
        """The sampled text: complete, whatever happened on the way."""
        try:
            return self._prose() if self.step.target_words else self._list()
        except InputError as error:
            if error.field == "max_length":  # the shortest continuation of a long list needs more than the reserve
                raise self._window_full() from error
            raise

    def _window_full(self) -> WindowFull:
        advice = f"is used up before {self.step.name}; raise it or ask for a shorter book"
        return WindowFull("max_length", self.session.sampler.max_length, advice)

    # Lists.

    def _list(self) -> str:
        options = self.settings.options(self.step, self.attempt)
        stretch = self._go_on(Constraint(self.node, self.vocabulary), options, 0, self.budget)
        if stretch.reason == "budget":
            text = self._text()
            self._keep(tokens_within([self._pieces[token] for token in self.tokens], len(text)))
            rest = remainder(self.node, text)
            if rest is None:
                return text[len(self.literal) :]
            self.note("finished by its shortest continuation")
            # Every open place of the remainder is short, so this ends; the bound only says so.
            self._go_on(
                Constraint(rest, self.vocabulary), options, 1, math.ceil(BYTES_PER_CHARACTER * rest.longest) + 1
            )
            self.reason = "budget"
        return self._text()[len(self.literal) :]

    # Prose.

    def _prose(self) -> str:
        options = self.settings.options(self.step, self.attempt)
        constraint = Constraint(self.node, self.vocabulary)
        cuts = extensions = 0
        last_cut = None
        while True:
            left = self.budget - len(self.tokens)
            stretch = self._go_on(constraint, options, cuts + extensions, left, self.settings.guard)
            if stretch.reason != "loop":
                if extensions == self.settings.extend_short or not self._ended_short():
                    break
                self._extend(constraint)
                extensions += 1
                continue
            last_cut = self._cut_back(stretch.loop_start, last_cut, constraint)
            cuts += 1
            if cuts > self.settings.loop_cuts:
                self.note(f"closed where it was clean after {cuts} loops")
                break
            hotter = self.settings.loop_temperature + 0.2 * (cuts - 1)
            options = replace(options, temperature=max(options.temperature, hotter))
        return self._closed()

    def _closed(self) -> str:
        text = self._text()[len(self.literal) :]
        if self.reason == "budget":
            self.note("closed at its token cap")
        if self.reason in ("budget", "loop"):
            if not text.strip("`\n "):
                return text
            text = close_prose(text)
        text = self._without_loops(text)
        words = self._words(text)
        if words < self.settings.short_share * self.step.target_words:
            self.note(f"short: {words} of {self.step.target_words} words")
        return text

    def _without_loops(self, text: str) -> str:
        """Prose as it stands in canonical tokens, in which a loop can show that the drawn spelling had hidden."""
        while True:
            tokens = self._tokenizer.encode(text).tolist()
            start = self.settings.guard.first_loop(tokens)
            if start is None:
                return text
            before = self._tokenizer.decode(tokens[:start])
            self.note("closed before a loop")
            text = close_prose(before[: last_clean_end(before)] or before)

    def _cut_back(self, loop_start: int, last: int | None, constraint: Constraint) -> int:
        """Goes back to the last clean place before the loop, or before the place that has led into a loop already."""
        clean = self._tokenizer.decode(self.tokens[:loop_start])[len(self.literal) :]
        length = last_clean_end(clean)
        if last is not None and length >= last:
            length = last_clean_end(clean[:last].rstrip()[:-1])
        count = tokens_within([self._pieces[token] for token in self.tokens], len(self.literal) + length)
        self.note(f"loop: cut back from {len(self.tokens)} to {count} tokens")
        self._keep(count)
        constraint.rewind(count)
        return length

    def _words(self, text: str) -> int:
        return count_words(text.removesuffix(FENCE))

    def _ended_short(self) -> bool:
        words = self._words(self._text()[len(self.literal) :])
        return self.reason in ("complete", "end") and words < self.settings.short_share * self.step.target_words

    def _extend(self, constraint: Constraint) -> None:
        """Takes the closing fence back and opens another paragraph."""
        text = self._text().removesuffix(f"\n{FENCE}")
        self._keep(tokens_within([self._pieces[token] for token in self.tokens], len(text)))
        constraint.rewind(len(self.tokens))
        given = self._tokenizer.encode(text[len(self._text()) :] + "\n\n").tolist()
        constraint.consume(given)
        self.session.append([given])
        self.tokens += given
        self.counts.forced += len(given)
        self._tell(given)

    # Tokens.

    def _go_on(
        self, constraint: Constraint, options: SamplingOptions, cut: int, budget: int, guard: LoopGuard | None = None
    ) -> Stretch:
        before = self.counts.sampled
        stretch = generate(
            self.session, constraint, options, seed=step_seed(self.seed, self.step, self.attempt, cut), budget=budget,
            counts=self.counts, guard=guard, history=self.tokens, on_tokens=self._tell,
        )  # fmt: skip
        self.tokens += stretch.tokens
        self.logprob += stretch.logprob
        self.drawn += self.counts.sampled - before
        self.reason = stretch.reason
        return stretch

    def _tell(self, tokens: list[int]) -> None:
        self._teller.more(b"".join(self._pieces[token] for token in tokens), self.attempt)

    def _text(self) -> str:
        """What is written, given text included; half a character at the end is left out."""
        return b"".join(self._pieces[token] for token in self.tokens).decode("utf-8", errors="ignore")

    def _keep(self, count: int) -> None:
        """Forgets all but the first ``count`` tokens of this attempt."""
        if count < len(self.tokens):
            self.tokens = self.tokens[:count]
            self.session.rewind([self.base + count])
            self._teller.cut(max(len(self._text()) - self._old, 0), self.attempt)
