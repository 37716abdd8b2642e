"""One step of a book: sample under its grammar, check the result, and try again until it is accepted.

A text can break a rule that no grammar can express (two chapters with the same name). The step is then tried again with
another seed, and after a few attempts at a higher temperature. ``attempt`` handles problems within one attempt.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from polaris_jax.sampling.book_model import AttemptContext, BookSession
from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.settings import WriterSettings, step_seed
from polaris_jax.sampling.text_diff import TextCallback, TextStreamDiff
from polaris_jax.trajectory import Step
from polaris_jax.trajectory.continuation import fixed_text
from polaris_jax.trajectory.tree import Failure
from polaris_jax.trajectory.validation import mismatch


@dataclass(frozen=True)
class AcceptedStep:
    """A step as it goes into the transcript: its text, and how it was sampled (see ``run_record.StepRecord``)."""

    sampled: str
    seed: int
    attempts: int
    temperature: float
    top_k: int
    reason: str
    model_logprob: float | None
    notes: tuple[str, ...]


class WritingError(RuntimeError):
    """A step that no attempt could write."""


def write_step(
    session: BookSession,
    step: Step,
    settings: WriterSettings,
    *,
    seed: int,
    counts: Counts,
    budget: int | None = None,
    on_text: TextCallback = lambda text, taken_back, attempt: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> AcceptedStep:
    """Writes one step after the transcript of ``session``; the caller commits the result.

    Args:
      budget: most tokens to sample; default the step's own bound.
      on_text: receives text deltas and retractions.
      on_note: receives one line for each unusual event.

    Raises:
      WritingError: every attempt broke a rule of the step.
      WindowFull: the text does not fit the model's window.
    """
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        on_note(line)

    text_diff = TextStreamDiff(on_text)
    if (known := fixed_text(step.grammar)) is not None:  # the grammar leaves no choice
        text_diff.begin(step.prefill, 0, 0)
        text_diff.push(step.prefill.encode(), 0)
        text_diff.finish(known, 0)
        return AcceptedStep(known, step_seed(seed, step, 0), 0, 0.0, 0, "given", None, ())
    forbidden = ForbiddenPhrases(settings.forbidden)
    budget = step.max_tokens if budget is None else min(budget, step.max_tokens)
    complaint = ""
    for number in range(settings.attempts + settings.relaxed_attempts):
        own, options = step_seed(seed, step, number), settings.options(step, number)
        context = AttemptContext(seed, number, budget, counts, text_diff, note, complaint)
        sample = session.attempt(step, settings, context)
        text = unicodedata.normalize("NFC", sample.text)  # orders several marks on one letter
        violations = _violations(step, text, forbidden)
        if not violations:
            text_diff.finish(text, number)
            return AcceptedStep(
                text,
                own,
                number + 1,
                options.temperature,
                options.top_k,
                sample.reason,
                sample.model_logprob,
                tuple(notes),
            )
        complaint = violations[0]
        note(f"attempt {number + 1}: {complaint} (seed {own}, temperature {options.temperature:g})")
    raise WritingError(f"{step.name}: {number + 1} attempts failed; the last one: {notes[-1]}")


def _violations(step: Step, sampled: str, forbidden: ForbiddenPhrases) -> tuple[str, ...]:
    if not step.grammar.matches(sampled):
        failure = step.grammar.parse(sampled)
        where = f" ({mismatch(failure, sampled)})" if isinstance(failure, Failure) else ""
        return (f"the text does not belong to the step's grammar{where}",)
    phrase = forbidden.first_in_stage(sampled)
    return (*step.accept(sampled), *((f"the phrase {phrase!r} is forbidden",) if phrase else ()))
