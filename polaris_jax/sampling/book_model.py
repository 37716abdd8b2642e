"""What ``write_book`` asks of a model, wherever the model runs.

``local_model`` samples with a checkpoint in this process, ``server`` through somebody else's engine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from polaris_jax.errors import InputError
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.text_diff import TextStreamDiff
from polaris_jax.trajectory import Step


class WindowFull(InputError):
    """The step has no room left in the window."""


@dataclass(frozen=True)
class StepSample:
    """What one attempt at a step gave.

    Attributes:
      text: of the step, after its prefill.
      reason: why the sampling stopped (``generate.Continuation``).
      model_logprob: mean log-probability of the sampled tokens under the model itself, nats; None where the engine
        was not asked for it.
    """

    text: str
    reason: str
    model_logprob: float | None


@dataclass(frozen=True)
class AttemptContext:
    """What an attempt is told, and where it reports to.

    Attributes:
      seed: of the run; number: of the attempt, from 0.
      budget: most tokens to sample.
      counts: gets the tokens added.
      text_diff: gets the text; note: gets a line for everything out of the ordinary.
      complaint: why the attempt before was refused; empty at the first.
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
    def length(self) -> int:
        """Tokens read, those of a step that is being tried among them."""

    def count(self, text: str) -> int:
        """Tokens of a text by itself; the same number at any time."""

    def commit(self, text: str) -> int:
        """Makes ``text``, which begins with all that is committed already, the transcript.

        Returns:
          The number of tokens read for it.

        Raises:
          ValueError: ``text`` does not begin with what is committed.
        """

    def attempt(self, step: Step, settings: WriterSettings, context: AttemptContext) -> StepSample:
        """Tries the step once, after what is committed.

        Raises:
          WindowFull: there is no room for it.
        """


class BookModel(Protocol):
    """A model that can write books."""

    def identity(self) -> dict[str, Any]:
        """What makes two models the same for a resumed run, as JSON values."""

    def begin(self) -> BookSession:
        """A session with an empty transcript."""
