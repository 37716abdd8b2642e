"""One attempt at a step. It always ends, and its text always matches the step's grammar.

Three things can go wrong. The token budget runs out: prose is closed at its last sentence, and a list is finished by
its shortest completion. Prose loops: it is cut back to the last clean paragraph and continued at a higher temperature;
if that does not help, it is closed there. Prose ends far too soon: it may be continued with another paragraph.
"""

import math
from dataclasses import replace

from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.book_model import RESERVE, AttemptContext, StepSample, WindowFull
from polaris_jax.sampling.cached_transcript import CachedTranscript
from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.sampling.generate import Continuation, generate
from polaris_jax.sampling.guard import LoopGuard, ProseGuard, last_clean_end, tokens_within
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.settings import WriterSettings, step_seed
from polaris_jax.sampling.shortest_completion import shortest_completion
from polaris_jax.trajectory import Step, close_prose, count_words
from polaris_jax.trajectory.grammar import seq
from polaris_jax.trajectory.stages import FENCE

BYTES_PER_CHARACTER = 4


class Attempt:
    """One attempt at one step, which continues the transcript in ``cached``.

    Attributes:
      reason: why the sampling stopped (``generate.Continuation``).
      logprob: sum of the sampled tokens' log-probabilities under the model itself, nats; sampled: their number.

    Raises:
      WindowFull: there is no room for the step.
    """

    def __init__(
        self,
        cached: CachedTranscript,
        step: Step,
        settings: WriterSettings,
        vocabulary: LLTokenizer,
        context: AttemptContext,
    ):
        self.step, self.settings, self.seed, self.number = step, settings, context.seed, context.number
        self.cache, self.vocabulary, self.counts, self.note = cached.cache, vocabulary, context.counts, context.note
        budget = context.budget
        self._tokenizer = cached.cache.sampler.tokenizer
        self._pieces = self._tokenizer.token_bytes()
        self._text_diff = context.text_diff
        prefix = cached.begin_step(step.prefill)
        self.literal, self._committed = prefix.literal, prefix.committed
        self._text_diff.begin(self.literal, prefix.committed, self.number)
        self.counts.prefilled += prefix.tokens_read
        self._phrases = ForbiddenPhrases(settings.forbidden)
        self.guard = ProseGuard(settings.guard, self._phrases, self._pieces) if settings.forbidden else settings.guard
        self.node = seq(self.literal, step.grammar) if self.literal else step.grammar
        self.base = self.cache.lengths[0]
        given = len(self._tokenizer.encode(self.literal))
        room = self.cache.sampler.max_length - self.base - RESERVE - given
        # A chapter needs room for at least one token per word.
        if room < max(1, min(budget, step.target_words)):
            raise self._window_full()
        self.budget = given + min(budget, room)
        self.tokens: list[int] = []
        self.logprob, self.sampled = 0.0, 0
        self.reason = ""

    def run(self) -> StepSample:
        """The sampled text; it always matches the step's grammar.

        Raises:
          WindowFull: closing the text needs more than the reserve.
        """
        try:
            text = self._prose() if self.step.target_words else self._list()
            return StepSample(text, self.reason, self.logprob / max(self.sampled, 1))
        except InputError as error:
            if error.field == "max_length":  # the shortest completion of a long list needs more than the reserve
                raise self._window_full() from error
            raise

    def _window_full(self) -> WindowFull:
        advice = f"is used up before {self.step.name}; raise it or ask for a shorter book"
        return WindowFull("max_length", self.cache.sampler.max_length, advice)

    # Lists.

    def _list(self) -> str:
        options = self.settings.options(self.step, self.number)
        continuation = self._generate(Constraint(self.node, self.vocabulary), options, 0, self.budget)
        if continuation.reason == "budget":
            text = self._text()
            self._keep(tokens_within([self._pieces[token] for token in self.tokens], len(text)))
            rest = shortest_completion(self.node, text)
            if rest is None:
                return text[len(self.literal) :]
            self.note("finished by its shortest continuation")
            # All free text of the completion is short, so this ends within the bound.
            bound = math.ceil(BYTES_PER_CHARACTER * rest.longest) + 1
            self._generate(Constraint(rest, self.vocabulary), options, 1, bound)
            self.reason = "budget"
        return self._text()[len(self.literal) :]

    # Prose.

    def _prose(self) -> str:
        options = self.settings.options(self.step, self.number)
        constraint = Constraint(self.node, self.vocabulary)
        cuts = extensions = 0
        last_cut = None
        while True:
            left = self.budget - len(self.tokens)
            continuation = self._generate(constraint, options, cuts + extensions, left, self.guard)
            if continuation.loop_start is None:
                if extensions == self.settings.extend_short or not self._ended_short():
                    break
                self._extend(constraint)
                extensions += 1
                continue
            last_cut = self._cut_back(continuation.loop_start, last_cut, constraint)
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
        """Cuts loops that are visible only in the canonical tokens of the prose."""
        while True:
            tokens = self._tokenizer.encode(text).tolist()
            start = self.settings.guard.first_loop(tokens)
            if start is None:
                return text
            before = self._tokenizer.decode(tokens[:start])
            self.note("closed before a loop")
            text = close_prose(before[: last_clean_end(before)] or before)

    def _cut_back(self, loop_start: int, last: int | None, constraint: Constraint) -> int:
        """Cuts back to the last clean end before the loop, or before ``last``, the previous cut, which looped again."""
        clean = self._tokenizer.decode(self.tokens[:loop_start])[len(self.literal) :]
        length = last_clean_end(clean)
        if last is not None and length >= last:
            length = last_clean_end(clean[:last].rstrip()[:-1])
        count = tokens_within([self._pieces[token] for token in self.tokens], len(self.literal) + length)
        why = "forbidden phrase" if self._phrases.first(self._text()[len(self.literal) :]) else "loop"
        self.note(f"{why}: cut back from {len(self.tokens)} to {count} tokens")
        self._keep(count)
        constraint.rewind(count)
        return length

    def _words(self, text: str) -> int:
        return count_words(text.removesuffix(FENCE))

    def _ended_short(self) -> bool:
        words = self._words(self._text()[len(self.literal) :])
        return self.reason in ("complete", "end") and words < self.settings.short_share * self.step.target_words

    def _extend(self, constraint: Constraint) -> None:
        """Removes the closing fence and begins another paragraph."""
        text = self._text().removesuffix(f"\n{FENCE}")
        self._keep(tokens_within([self._pieces[token] for token in self.tokens], len(text)))
        constraint.rewind(len(self.tokens))
        given = self._tokenizer.encode(text[len(self._text()) :] + "\n\n").tolist()
        constraint.consume(given)
        self.cache.append([given])
        self.tokens += given
        self.counts.forced += len(given)
        self._emit(given)

    # Tokens.

    def _generate(
        self,
        constraint: Constraint,
        options: SamplingOptions,
        cut: int,
        budget: int,
        guard: LoopGuard | ProseGuard | None = None,
    ) -> Continuation:
        before = self.counts.sampled
        continuation = generate(
            self.cache,
            constraint,
            options,
            seed=step_seed(self.seed, self.step, self.number, cut),
            budget=budget,
            counts=self.counts,
            guard=guard,
            history=self.tokens,
            on_tokens=self._emit,
        )
        self.tokens += continuation.tokens
        self.logprob += continuation.logprob
        self.sampled += self.counts.sampled - before
        self.reason = continuation.reason
        return continuation

    def _emit(self, tokens: list[int]) -> None:
        self._text_diff.push(b"".join(self._pieces[token] for token in tokens), self.number)

    def _text(self) -> str:
        """The text so far, given text included; an incomplete character at the end is left out."""
        return b"".join(self._pieces[token] for token in self.tokens).decode("utf-8", errors="ignore")

    def _keep(self, count: int) -> None:
        """Forgets all but the first ``count`` tokens of this attempt."""
        if count < len(self.tokens):
            self.tokens = self.tokens[:count]
            self.cache.rewind([self.base + count])
            self._text_diff.truncate(max(len(self._text()) - self._committed, 0), self.number)
