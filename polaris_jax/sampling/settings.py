"""How the steps of a book are sampled, retried, and kept from looping or ending too soon."""

import hashlib
from dataclasses import dataclass, field

from polaris_jax.errors import InputError
from polaris_jax.sampling.dry import DryOptions
from polaris_jax.sampling.guard import LoopGuard
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.trajectory import Step


@dataclass(frozen=True)
class WriterSettings:
    """How steps are sampled; temperature and top-k come from the step itself unless given here.

    Attributes:
      temperature, top_k: replace every step's own values when not None.
      top_p, min_p, repetition_penalty: as in ``SamplingOptions``.
      attempts: attempts with the step's own settings, each with its own seed.
      relaxed_attempts: further attempts, each at a higher temperature than the one before, without filters or penalty.
      guard: when prose counts as looping.
      loop_cuts: how often one chapter's prose is cut back and continued; after the next loop it is closed.
      loop_temperature: the least temperature after the first cut; 0.2 more after each further one.
      short_share: prose that ends below this share of its target words is reported.
      typical_p, xtc_probability, xtc_threshold, dry: as in ``SamplingOptions``; not every server's engine has them.
      forbidden: phrases that no stage may contain; prose is cut back before one and continued.
      extend_short: how often prose that ends too soon is continued with another paragraph; 0: never.
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
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dry: DryOptions | None = None
    forbidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.attempts < 1 or min(self.relaxed_attempts, self.loop_cuts, self.extend_short) < 0:
            raise InputError("settings", self, "needs attempts >= 1 and no negative number of further attempts")
        # Bad numbers are refused before anything is written, not at the first step.
        self._options(self.temperature or 0.0, self.top_k or 0)

    def options(self, step: Step, attempt: int) -> SamplingOptions:
        """The options of a step's ``attempt`` (from 0)."""
        temperature = step.temperature if self.temperature is None else self.temperature
        top_k = (step.top_k or 0) if self.top_k is None else self.top_k
        hotter = attempt - self.attempts + 1
        if hotter > 0:
            return SamplingOptions(max(temperature, 0.7) + 0.4 * hotter)
        return self._options(temperature, top_k)

    def _options(self, temperature: float, top_k: int) -> SamplingOptions:
        return SamplingOptions(
            temperature,
            top_k,
            self.top_p,
            self.min_p,
            self.repetition_penalty,
            typical_p=self.typical_p,
            xtc_probability=self.xtc_probability,
            xtc_threshold=self.xtc_threshold,
            dry=self.dry,
        )


def step_seed(seed: int, step: Step, attempt: int, cut: int = 0) -> int:
    """32 bits that depend on the run's seed, the place in the book, the attempt and the cut."""
    place = f"{seed}/{step.name}/{step.start}/{attempt}/{cut}"
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:4], "little")
