"""Writing one step of a book: draw under its grammar, look at the result, try again, and in any case come to an end.

Three things can go wrong, and each has its way out. The text breaks a rule that no grammar can express: the
step is tried again with another seed, and after a few tries with more noise. The token budget runs out: prose is
closed at its last sentence, lists are finished by their shortest continuation. Prose loops: it is cut back to the last
clean paragraph and goes on with more noise.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.closing import remainder
from polaris_jax.sampling.constraint import Constraint
from polaris_jax.sampling.generate import Counts, Stretch, generate
from polaris_jax.sampling.guard import LoopGuard, last_clean_end, tokens_within
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.trajectory import Step, close_prose, count_words
from polaris_jax.trajectory.grammar import seq
from polaris_jax.trajectory.stages import FENCE

# Slots kept free at the end of the window for closing what is open (trajectory specification 5.1).
RESERVE = 256
BYTES_PER_CHARACTER = 4


@dataclass(frozen=True)
class WriterSettings:
    """How steps are drawn; temperature and top-k come from the step itself unless given here.

    Attributes:
      temperature, top_k: replace every step's own values when not None.
      top_p, min_p, repetition_penalty: as in ``SamplingOptions``.
      attempts: tries of a step with the step's own settings, each with its own seed.
      relaxed_attempts: further tries, each hotter than the one before.
      guard: when prose counts as looping.
      loop_cuts: how often one chapter's prose is cut back before it is closed where it was still clean.
      loop_temperature: at least this hot after the first cut, and 0.2 more after each further one.
      short_share: prose that ends by itself below this share of its target words is reported.
      extend_short: how often such prose is made to begin another paragraph instead; 0 lets the model decide.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    attempts: int = 3
    relaxed_attempts: int = 3
    guard: LoopGuard = field(default_factory=LoopGuard)
    loop_cuts: int = 3
    loop_temperature: float = 0.6
    short_share: float = 0.6
    extend_short: int = 0

    def __post_init__(self):
        if self.attempts < 1 or min(self.relaxed_attempts, self.loop_cuts, self.extend_short) < 0:
            raise InputError("settings", self, "needs attempts >= 1 and no negative number of further tries")

    def options(self, step: Step, attempt: int) -> SamplingOptions:
        """The options of a step's ``attempt`` (from 0)."""
        temperature = step.temperature if self.temperature is None else self.temperature
        top_k = (step.top_k or 0) if self.top_k is None else self.top_k
        hotter = attempt - self.attempts + 1
        if hotter > 0:
            return SamplingOptions(max(temperature, 0.7) + 0.4 * hotter)
        return SamplingOptions(temperature, top_k, self.top_p, self.min_p, self.repetition_penalty)


@dataclass(frozen=True)
class Accepted:
    """A step as it goes into the transcript: the sample, and how it came about (``ledger.StepRecord``)."""

    sampled: str
    seed: int
    attempts: int
    reason: str
    model_logprob: float
    notes: tuple[str, ...]


class WritingError(RuntimeError):
    """A step that no attempt could write."""


def step_seed(seed: int, step: Step, attempt: int, cut: int = 0) -> int:
    """32 bits that depend on the run's seed and on where in the book and in which try they are used."""
    place = f"{seed}/{step.name}/{step.start}/{attempt}/{cut}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "little")


def write_step(
    manuscript: Manuscript,
    step: Step,
    settings: WriterSettings,
    *,
    seed: int,
    vocabulary: LLTokenizer,
    counts: Counts,
    on_text: Callable[[str, int], None] = lambda text, attempt: None,
) -> Accepted:
    """Writes one step after what ``manuscript`` holds; the caller commits the result.

    Args:
      on_text: told about text as it settles, with the number of the attempt.

    Raises:
      WritingError: every attempt broke a rule of the step.
      InputError: the text does not fit the sampler's ``max_length``.
    """
    notes: list[str] = []
    for attempt in range(settings.attempts + settings.relaxed_attempts):
        own = step_seed(seed, step, attempt)
        trial = _Trial(manuscript, step, settings, seed, attempt, vocabulary, counts, notes, on_text)
        sampled = trial.run()
        complaints = _complaints(step, sampled)
        if not complaints:
            mean = trial.logprob / max(trial.drawn, 1)
            return Accepted(sampled, own, attempt + 1, trial.reason, mean, tuple(notes))
        notes.append(f"attempt {attempt + 1}: {complaints[0]}")
    raise WritingError(f"{step.name}: {len(notes)} attempts failed; the last one: {notes[-1]}")


def _complaints(step: Step, sampled: str) -> tuple[str, ...]:
    if not step.grammar.matches(sampled):
        return ("the text does not belong to the step's grammar",)
    return step.accept(sampled)


class _Trial:
    """One attempt at one step."""

    def __init__(self, manuscript, step, settings, seed, attempt, vocabulary, counts, notes, on_text):
        self.step, self.settings, self.seed, self.attempt = step, settings, seed, attempt
        self.session, self.vocabulary, self.counts, self.notes = manuscript.session, vocabulary, counts, notes
        self._tokenizer = manuscript.session.sampler.tokenizer
        self._pieces = self._tokenizer.token_bytes()
        self._on_text = on_text
        opening = manuscript.open(step.prefill)
        self.literal, self._old = opening.literal, opening.old
        counts.prefilled += opening.read
        self.node = seq(self.literal, step.grammar) if self.literal else step.grammar
        self.base = self.session.lengths[0]
        room = self.session.sampler.max_length - self.base - RESERVE
        given = len(self._tokenizer.encode(self.literal))
        if room <= given:
            advice = f"is used up before {step.name}; raise it or ask for a shorter book"
            raise InputError("max_length", self.session.sampler.max_length, advice)
        self.budget = min(step.max_tokens + given, room)
        self.tokens: list[int] = []
        self.logprob, self.drawn = 0.0, 0
        self.reason = ""

    def run(self) -> str:
        """The sampled text: complete, whatever happened on the way."""
        options = self.settings.options(self.step, self.attempt)
        constraint = Constraint(self.node, self.vocabulary)
        guard = self.settings.guard if self.step.target_words else None
        cuts = extensions = 0
        while True:
            stretch = self._go_on(constraint, options, cuts + extensions, self.budget - len(self.tokens), guard)
            if stretch.reason != "loop":
                if extensions == self.settings.extend_short or not self._ended_short():
                    break
                self._extend(constraint)
                extensions += 1
                continue
            self._cut_back(stretch.loop_start, constraint)
            cuts += 1
            if cuts > self.settings.loop_cuts:
                self.notes.append(f"closed where it was clean after {cuts} loops")
                break
            hotter = self.settings.loop_temperature + 0.2 * (cuts - 1)
            options = replace(options, temperature=max(options.temperature, hotter))
        return self._prose() if self.step.target_words else self._list(options)

    def _go_on(self, constraint, options, cut: int, budget: int, guard: LoopGuard | None = None) -> Stretch:
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
        """Passes new text on, without what the listener has heard in the step before."""
        text = self._tokenizer.decode(tokens)
        new, self._old = text[self._old :], max(self._old - len(text), 0)
        if new:
            self._on_text(new, self.attempt)

    def _text(self) -> str:
        """What is written, given text included; half a character at the end is left out."""
        return b"".join(self._pieces[token] for token in self.tokens).decode("utf-8", errors="ignore")

    def _keep(self, count: int) -> None:
        self.tokens = self.tokens[:count]
        self.session.rewind([self.base + count])

    def _cut_back(self, loop_start: int, constraint: Constraint) -> None:
        clean = self._tokenizer.decode(self.tokens[:loop_start])[len(self.literal) :]
        length = len(self.literal) + last_clean_end(clean)
        count = tokens_within([self._pieces[token] for token in self.tokens], length)
        self.notes.append(f"loop: cut back from {len(self.tokens)} to {count} tokens")
        self._keep(count)
        constraint.rewind(count)

    def _ended_short(self) -> bool:
        ended = self.step.target_words > 0 and self.reason in ("complete", "end")
        words = count_words(self._text()[len(self.literal) :]) - 1  # the fence
        return ended and words < self.settings.short_share * self.step.target_words

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

    def _prose(self) -> str:
        text = self._text()[len(self.literal) :]
        if self.reason in ("budget", "loop"):
            if self.reason == "budget":
                self.notes.append("closed at its token cap")
            if not text.strip("`\n "):
                return text
            text = close_prose(text)
        words = count_words(text) - 1  # the fence
        if self.reason in ("complete", "end") and words < self.settings.short_share * self.step.target_words:
            self.notes.append(f"short: {words} of {self.step.target_words} words")
        return text

    def _list(self, options: SamplingOptions) -> str:
        if self.reason == "budget":
            text = self._text()
            self._keep(tokens_within([self._pieces[token] for token in self.tokens], len(text)))
            rest = remainder(self.node, text)
            if rest is None:
                return text[len(self.literal) :]
            self.notes.append("finished by its shortest continuation")
            # Every open place of the remainder is short, so this ends; the bound only says so.
            self._go_on(
                Constraint(rest, self.vocabulary), options, 1, math.ceil(BYTES_PER_CHARACTER * rest.longest) + 1
            )
            self.reason = "budget"
        return self._text()[len(self.literal) :]
