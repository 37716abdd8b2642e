"""Writing one step of a book: draw under its grammar, look at the result, and try again until it may stand.

A text can break a rule that no grammar can express (two chapters of one name). The step is then tried again with
another seed, and after a few tries with more noise. What else can go wrong within one attempt, ``trial`` sees to.
"""

from collections.abc import Callable
from dataclasses import dataclass

from llguidance import LLTokenizer

from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.telling import Hears, Teller
from polaris_jax.sampling.trial import Trial, step_seed
from polaris_jax.trajectory import Step


@dataclass(frozen=True)
class Accepted:
    """A step as it goes into the transcript: the sample, and how it came about (``ledger.StepRecord``)."""

    sampled: str
    seed: int
    attempts: int
    temperature: float
    top_k: int
    reason: str
    model_logprob: float
    notes: tuple[str, ...]


class WritingError(RuntimeError):
    """A step that no attempt could write."""


def write_step(
    manuscript: Manuscript,
    step: Step,
    settings: WriterSettings,
    *,
    seed: int,
    vocabulary: LLTokenizer,
    counts: Counts,
    budget: int | None = None,
    on_text: Hears = lambda text, taken_back, attempt: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Accepted:
    """Writes one step after what ``manuscript`` holds; the caller commits the result.

    Args:
      budget: most tokens to sample; default the step's own bound.
      on_text: told about text as it settles, and about text that no longer counts.
      on_note: told about everything out of the ordinary, one line each.

    Raises:
      WritingError: every attempt broke a rule of the step.
      WindowFull: the text does not fit the sampler's ``max_length``.
    """
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        on_note(line)

    teller = Teller(on_text)
    budget = step.max_tokens if budget is None else min(budget, step.max_tokens)
    for attempt in range(settings.attempts + settings.relaxed_attempts):
        own, options = step_seed(seed, step, attempt), settings.options(step, attempt)
        trial = Trial(manuscript, step, settings, seed, attempt, budget, vocabulary, counts, teller, note)
        sampled = trial.run()
        complaints = _complaints(step, sampled)
        if not complaints:
            teller.settle(sampled, attempt)
            mean = trial.logprob / max(trial.drawn, 1)
            return Accepted(sampled, own, attempt + 1, options.temperature, options.top_k, trial.reason, mean,
                            tuple(notes))  # fmt: skip
        note(f"attempt {attempt + 1}: {complaints[0]} (seed {own}, temperature {options.temperature:g})")
    raise WritingError(f"{step.name}: {attempt + 1} attempts failed; the last one: {notes[-1]}")


def _complaints(step: Step, sampled: str) -> tuple[str, ...]:
    if not step.grammar.matches(sampled):
        return ("the text does not belong to the step's grammar",)
    return step.accept(sampled)
