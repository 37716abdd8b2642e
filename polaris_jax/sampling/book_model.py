"""The interface between ``write_book`` and a model, wherever the model runs.

``local_model`` samples with a checkpoint in this process, ``server`` through an engine elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from polaris_jax.errors import InputError
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.text_diff import TextStreamDiff
from polaris_jax.trajectory import Step

# Tokens kept free at the end of the window for closing what is open (trajectory specification 5.1).
RESERVE = 256


class WindowFull(InputError):
    """The step has no room left in the window."""


@dataclass(frozen=True)
class StepSample:
    """The result of one attempt at a step.

    Attributes:
      text: the step's text after its prefill.
      reason: why the sampling stopped (``generate.Continuation``).
      model_logprob: mean log-probability of the sampled tokens under the model itself, nats; None where the engine
        was not asked for it.
    """

    text: str
    reason: str
    model_logprob: float | None


@dataclass(frozen=True)
class AttemptContext:
    """The inputs of an attempt, and where it reports.

    Attributes:
      seed: the run's seed; number: the attempt, counted from 0.
      budget: most tokens to sample.
      counts: the attempt's tokens are added to it.
      text_diff: receives the text; note: receives one line for each unusual event.
      complaint: why the previous attempt was refused; empty for the first.
    """

    seed: int
    number: int
    budget: int
    counts: Counts
    text_diff: TextStreamDiff
    note: Callable[[str], None]
    complaint: str = ""


class BookSession(Protocol):
    """A model that has read one transcript."""

    text: str  # everything committed

    @property
    def window(self) -> int:
        """Tokens of the longest transcript."""

    @property
    def length(self) -> int:
        """Tokens read, including those of a step in progress."""

    def count(self, text: str) -> int:
        """The number of tokens of a text by itself; it does not depend on the transcript."""

    def commit(self, text: str) -> int:
        """Extends the transcript to ``text``, which begins with the committed text.

        Returns:
          The number of tokens read for it.

        Raises:
          ValueError: ``text`` does not begin with the committed text.
        """

    def attempt(self, step: Step, settings: WriterSettings, context: AttemptContext) -> StepSample:
        """Tries the step once, after the committed text.

        Raises:
          WindowFull: there is no room for it.
        """


class BookModel(Protocol):
    """A model that can write books."""

    def identity(self) -> dict[str, Any]:
        """The properties that must stay the same in a resumed run, as JSON values."""

    def begin(self) -> BookSession:
        """A session with an empty transcript."""
