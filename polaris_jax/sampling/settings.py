"""How the steps of a book are drawn, tried again, and kept from looping or ending too soon."""

from dataclasses import dataclass, field

from polaris_jax.errors import InputError
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.trajectory import Step


@dataclass(frozen=True)
class WriterSettings:
    """How steps are drawn; temperature and top-k come from the step itself unless given here.

    Attributes:
      temperature, top_k: replace every step's own values when not None.
      top_p, min_p, repetition_penalty: as in ``SamplingOptions``.
      attempts: tries of a step with the step's own settings, each with its own seed.
      relaxed_attempts: further tries, each hotter than the one before and without filters or penalty.
      guard: when prose counts as looping.
      loop_cuts: how often one chapter's prose is cut back before it is closed where it was still clean.
      loop_temperature: at least this hot after the first cut, and 0.2 more after each further one.
      short_share: prose that ends below this share of its target words is reported.
      extend_short: how often prose that ends by itself too soon is made to begin another paragraph instead; 0 lets
        the model decide.
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
        # A bad number should be refused before anything is written, not at the first step.
        SamplingOptions(self.temperature or 0.0, self.top_k or 0, self.top_p, self.min_p, self.repetition_penalty)

    def options(self, step: Step, attempt: int) -> SamplingOptions:
        """The options of a step's ``attempt`` (from 0)."""
        temperature = step.temperature if self.temperature is None else self.temperature
        top_k = (step.top_k or 0) if self.top_k is None else self.top_k
        hotter = attempt - self.attempts + 1
        if hotter > 0:
            return SamplingOptions(max(temperature, 0.7) + 0.4 * hotter)
        return SamplingOptions(temperature, top_k, self.top_p, self.min_p, self.repetition_penalty)
