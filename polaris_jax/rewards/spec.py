"""``RewardSpec``: every number of the reward. The defaults are the recipe's (POLARIS §3, main configuration)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_type_hints

from polaris_jax.errors import InputError
from polaris_jax.rewards.length import LengthSpec, Tolerance
from polaris_jax.rewards.quality import QualitySpec
from polaris_jax.rewards.repetition import RepetitionSpec

S = TypeVar("S")


@dataclass(frozen=True)
class RewardSpec:
    """scalar = clip(quality - 1.5 repetition - 0.8 length - blank, ±2), and what its parts are made of.

    Attributes:
      quality_weight, repetition_weight, length_weight, blank_weight: of the components.
      length_reward_weight: of being on target; the recipe has none.
      clip: the scalar lies within ± this; a response without a story gets the lower end.
      reference_best: a reference gets the upper end, unjudged.
      quality, length, repetition: of the components.
      thinking_opened: the prompts end inside the thinking block (``split_thinking``).
      think_cap, think_penalty: thoughts of more tokens cost the penalty.
      max_tokens, overlong_buffer, overlong_penalty: a response that has not ended by itself costs up to the penalty,
        growing linearly over the last ``overlong_buffer`` of ``max_tokens`` tokens (DAPO's soft overlong punishment).
        Both token penalties are 0: the published runs configured 0.05 and 1.0, and their trainer lost them.
    """

    quality_weight: float = 1.0
    repetition_weight: float = 1.5
    length_weight: float = 0.8
    blank_weight: float = 1.0
    length_reward_weight: float = 0.0
    clip: float = 2.0
    reference_best: bool = False
    quality: QualitySpec = field(default_factory=QualitySpec)
    length: LengthSpec = field(default_factory=LengthSpec)
    repetition: RepetitionSpec = field(default_factory=RepetitionSpec)
    thinking_opened: bool = False
    think_cap: int = 3072
    think_penalty: float = 0.0
    max_tokens: int = 8192
    overlong_buffer: int = 512
    overlong_penalty: float = 0.0

    def __post_init__(self):
        if self.clip <= 0:
            raise InputError("clip", self.clip, "more than 0")
        if self.overlong_buffer < 0:
            raise InputError("overlong_buffer", self.overlong_buffer, "0 or more tokens")

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "rewards") -> "RewardSpec":
        """A spec from nested plain values, as a config file has them; what is left out keeps its default.

        Raises:
          InputError: an unknown name or a value of the wrong kind, by its path.
        """
        return _build(cls, values, where)


def _build(cls: type[S], values: Any, where: str) -> S:
    if cls is Tolerance and isinstance(values, (list, tuple)) and len(values) == 3:
        values = dict(zip(("share", "least", "most"), values, strict=True))
    if not isinstance(values, Mapping):
        raise InputError(where, values, f"a group of values: {', '.join(f.name for f in dataclasses.fields(cls))}")
    kinds = get_type_hints(cls)
    given = {}
    for name, value in values.items():
        path = f"{where}.{name}"
        if name not in kinds:
            raise InputError(path, value, f"no such field; the fields are {', '.join(kinds)}")
        if dataclasses.is_dataclass(kinds[name]):
            value = value if isinstance(value, kinds[name]) else _build(kinds[name], value, path)
        elif not _fits(value, kinds[name]):
            raise InputError(path, value, f"must be {getattr(kinds[name], '__name__', kinds[name])}")
        given[name] = value
    return cls(**given)


def _fits(value: Any, kind: Any) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if value is None:
        return kind not in (int, float)
    return isinstance(value, int) or (isinstance(value, float) and (kind is not int and kind != int | None))
