"""``RewardSpec``: every number of the reward. The defaults are the recipe's (POLARIS §3, main configuration)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax.options import ANY_NUMBER, NOT_NEGATIVE, Bounds, build, check, option, section
from polaris_jax.rewards.length import LengthSpec
from polaris_jax.rewards.quality import QualitySpec
from polaris_jax.rewards.repetition import RepetitionSpec


@dataclass(frozen=True)
class RewardSpec:
    """scalar = clip(quality - 1.5 repetition - 0.8 length - blank, ±2), and the settings of its parts.

    A response that did not end by itself costs up to ``overlong_penalty``, growing linearly over the last
    ``overlong_buffer`` of ``max_tokens`` tokens (DAPO's soft overlong punishment). Both token penalties are 0: the
    published runs configured 0.05 and 1.0, but their trainer did not apply them.

    Raises:
      InputError: a field is out of range.
    """

    quality_weight: float = option(1.0, bounds=ANY_NUMBER, doc="weight of the judged quality")
    repetition_weight: float = option(1.5, bounds=ANY_NUMBER, doc="weight of self-repetition")
    length_weight: float = option(0.8, bounds=ANY_NUMBER, doc="weight of being too short or too long")
    blank_weight: float = option(1.0, bounds=ANY_NUMBER, doc="weight of being blank")
    length_reward_weight: float = option(0.0, bounds=ANY_NUMBER, doc="weight of being on target; the recipe has none")
    clip: float = option(
        2.0,
        bounds=Bounds("more than 0", above=0),
        doc="the scalar lies within ± this; a response without a story gets the lower end",
    )
    reference_best: bool = option(False, doc="a human reference gets the upper end, unjudged")
    quality: QualitySpec = section(QualitySpec(), doc="how a judge's scores become quality")
    length: LengthSpec = section(LengthSpec(), doc="what is too short, too long and blank")
    repetition: RepetitionSpec = section(RepetitionSpec(), doc="what counts as repetition")
    thinking_opened: bool = option(False, doc="the prompts end inside the thinking block (``split_thinking``)")
    think_cap: int = option(3072, bounds=NOT_NEGATIVE, doc="thoughts of more tokens cost the penalty")
    think_penalty: float = option(0.0, bounds=ANY_NUMBER, doc="penalty of thoughts beyond the cap")
    max_tokens: int = option(8192, bounds=NOT_NEGATIVE, doc="most tokens of a response; in a run those of its rollouts")
    overlong_buffer: int = option(
        512, bounds=Bounds("0 or more tokens", least=0), doc="last tokens over which the overlong penalty grows"
    )
    overlong_penalty: float = option(0.0, bounds=ANY_NUMBER, doc="largest penalty of a response that was cut off")

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "rewards") -> "RewardSpec":
        """A spec from nested plain values, as in a config file. Missing fields keep their defaults.

        Raises:
          InputError: an unknown name or a value of the wrong type; it names the path.
        """
        return build(cls, dict(_rows(values)), where)


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
