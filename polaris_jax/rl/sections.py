"""The sections of a post-training config beside those of training. Lengths are tokens. Except for paths, the defaults
are the published recipe's (POLARIS specification 1 to 6).
"""

from dataclasses import dataclass
from typing import Literal

from polaris_jax.llm.spec import ClientOptions
from polaris_jax.options import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Bounds,
    again,
    option,
    section,
)
from polaris_jax.rewards import JudgeSpec
from polaris_jax.rl.aggregation import MODES
from polaris_jax.rl.auto_weights import AutoWeightOptions
from polaris_jax.rl.policy_loss import ESTIMATOR_NAMES
from polaris_jax.rl.schedules import WeightSchedule

_TOP_P = Bounds("use a number above 0 and at most 1 (off)", above=0, most=1)


@dataclass(frozen=True)
class TaskOptions:
    """What to write: prompts, with or without the human text of the same prompt."""

    kind: Literal["prompts", "chapters", "passages", "pairs"] = option(
        "prompts",
        doc="prompts (published schema), chapters (of a trajectory store), passages (of a novel) or pairs",
    )
    train: str = option("", execution=True, doc=".jsonl or .parquet; a token store; a novel; a file of pairs")
    validation: str = option(
        "", execution=True, doc='the same ("" validates on nothing); passages: the novel\'s last part'
    )
    words: tuple[int, int] = option((12, 60), doc="passages: shortest and longest, words")
    held_out: float = option(0.25, bounds=SHARE, doc="passages: share of the novel at its end that is for validation")
    max_prompt_tokens: int = option(256, bounds=POSITIVE, doc="longer prompts are left out")
    long_answers: Literal["leave_out", "cut"] = option(
        "leave_out",
        doc="pairs with an answer longer than rollout.max_tokens; cut: both end there, without an end token",
    )
    guessed_lengths: Literal["warn", "refuse"] = option(
        "warn",
        execution=True,
        doc="of prompts whose requested length is a guess, or that name none and have no human text",
    )
    limit: int = option(0, bounds=NOT_NEGATIVE, doc="use only this many tasks, evenly spread (0: all)")
    validation_limit: int = option(0, bounds=NOT_NEGATIVE, execution=True, doc="the same for validation tasks")


@dataclass(frozen=True)
class RolloutOptions:
    """How responses are sampled, in training and in validation; see ``sampling.SamplingOptions``."""

    max_tokens: int = option(8192, bounds=POSITIVE, doc="most tokens of a response")
    temperature: float = option(1.0, bounds=NOT_NEGATIVE, doc="divides the logits; 0 takes the most probable token")
    top_p: float = option(0.95, bounds=_TOP_P, doc="probability of the tokens that are kept; 1 keeps all")
    top_k: int = option(20, bounds=NOT_NEGATIVE, doc="most probable tokens that are kept; 0 keeps all")
    repetition_penalty: float = option(1.1, bounds=POSITIVE, doc="of tokens already in the text; 1 changes nothing")
    slots: int = option(48, bounds=POSITIVE, execution=True, doc="rows written at once")
    tensor: int = option(
        0,
        bounds=NOT_NEGATIVE,
        execution=True,
        doc="devices that share the weights and the heads of a row while responses are written; the others take rows "
        "of their own (0: as many as divide the key heads)",
    )
    cache_dtype: str = option("", doc='of keys and values ("": as the weights)')
    validation_temperature: float = option(0.8, bounds=NOT_NEGATIVE, doc="temperature in validation")
    validation_top_p: float = option(0.95, bounds=_TOP_P, doc="top_p in validation")
    validation_top_k: int = option(0, bounds=NOT_NEGATIVE, doc="top_k in validation")
    validation_repetition_penalty: float = option(1.1, bounds=POSITIVE, doc="repetition_penalty in validation")


@dataclass(frozen=True)
class CollapseOptions:
    """Signs that end a run which no longer learns. A sign must be seen in ``steps`` steps in a row."""

    steps: int = option(8, bounds=NOT_NEGATIVE, doc="steps in a row until the run is given up (0: never)")
    entropy_low: float = option(0.005, bounds=NOT_NEGATIVE, doc="mean -log p of sampled tokens below this, nats")
    entropy_rise: float = option(
        2.0, bounds=NOT_NEGATIVE, doc="that mean above its start by more than this, nats (0: not checked)"
    )
    length_rise: float = option(
        4.0,
        bounds=NOT_NEGATIVE,
        doc="responses this many times as long or as short as asked, and more so than at the start",
    )


@dataclass(frozen=True)
class RlOptions:
    """Groups, advantages and the objective. HRI is human-reference injection: the human story is a row of its group."""

    objective: Literal["grpo", "orpo", "dpo"] = option("grpo", doc="grpo (with HRI), orpo, or dpo (of data.kind=pairs)")
    as_released: bool = option(False, doc="the released trainer's behaviour, inert human references included")
    prompts_per_step: int = option(8, bounds=POSITIVE, doc="groups, or pairs, of a step")
    group_size: int = option(
        6,
        bounds=Bounds("a group compares at least 2 rows", least=2),
        doc="rows per prompt; one of them the human reference while its weight is above 0 (HRI)",
    )
    window: int = option(
        8448, bounds=POSITIVE, execution=True, doc="tokens per packed window: at least the longest row"
    )
    window_sizes: int = option(
        1,
        bounds=POSITIVE,
        execution=True,
        doc="lengths of windows a step may choose from, evenly spaced up to window: it takes the one with the least "
        "padding; every length used is compiled once",
    )
    micro_windows: int = option(1, bounds=POSITIVE, execution=True, doc="windows at a time, per data row of the mesh")
    epochs: int = option(1, bounds=POSITIVE, doc="passes over a step's rows")
    minibatches: int = option(1, bounds=POSITIVE, doc="parts of a step's rows with an update each")
    quorum: float = option(
        0.5,
        bounds=SHARE,
        doc="least share of a step's groups with two judged rollouts; with fewer the run stops before the update",
    )
    failures_in_a_row: int = option(
        3,
        bounds=NOT_NEGATIVE,
        doc="judgements in a row that failed, at the end of a step: the judge has broken down and the run stops before "
        "the update (0: not checked)",
    )
    normalise: bool = option(True, doc="divide advantages by the group's spread")
    std_floor: float = option(0.02, bounds=NOT_NEGATIVE, doc="least spread (reward units)")
    human_reference_limit: float = option(
        10.0, bounds=NOT_NEGATIVE, formerly="reference_limit", doc="limit of the human references' advantages (0: none)"
    )
    exclude_human_references: bool = option(
        True, formerly="exclude_references", doc="leave human references out of the groups' statistics"
    )
    human_reference_floor: float | None = option(
        0.0,
        bounds=Bounds("0 or more, or None for no floor", least=0),
        doc="least advantage of a human reference, before its weight: 0 unlearns no human text; None: no floor",
    )
    aggregation: str = option("token-mean", choices=MODES, doc="from losses per token to one loss")
    clip_low: float = option(0.2, bounds=NOT_NEGATIVE, doc="the ratio is clipped at 1 minus this")
    clip_high: float = option(0.28, bounds=NOT_NEGATIVE, doc="the ratio is clipped at 1 plus this")
    dual_clip: float = option(3.0, bounds=NOT_NEGATIVE, doc="largest ratio of a negative advantage: above 1 (0: off)")
    correction_limit: float = option(
        2.0, bounds=NOT_NEGATIVE, doc="limit of the sampler/learner importance weights (0: no correction)"
    )
    kl_coef: float = option(0.0, bounds=NOT_NEGATIVE, doc="weight of the divergence from the reference policy")
    kl_estimator: str = option("k3", choices=ESTIMATOR_NAMES, doc="estimator of that divergence")
    orpo_beta: float = option(1.0, bounds=NOT_NEGATIVE, doc="orpo: weight of the odds ratio")
    dpo_beta: float = option(0.1, bounds=POSITIVE, doc="dpo: how strongly the policy is held to the starting model")
    dpo_label_smoothing: float = option(
        0.0,
        bounds=Bounds("use 0 (none) to 0.5", least=0, most=0.5),
        doc="dpo: assumed share of pairs with swapped labels",
    )
    dpo_normalise: bool = option(False, doc="dpo: mean log-probability per token instead of the sum over an answer")
    thinking: bool = option(False, doc="the chat template's thinking mode")
    think_prefix: int = option(
        0, bounds=NOT_NEGATIVE, doc="rollouts of a group that start from the human reference's reasoning"
    )
    human_reference: WeightSchedule = section(
        WeightSchedule(0.4, warmup=15), formerly="reference", doc="weight of the human references' advantages (HRI)"
    )
    cloning: WeightSchedule = section(WeightSchedule(0.0), doc="weight of behaviour cloning on human references")
    auto_weights: AutoWeightOptions = section(AutoWeightOptions(), doc="reward weights that follow the rewards")
    collapse: CollapseOptions = section(CollapseOptions(), execution=True, doc="when a run is given up")


@dataclass(frozen=True)
class PauseOptions:
    """How long a run waits for an absent judge (no connection, 5xx, 429, timeouts)."""

    patience: float = option(
        7200.0, bounds=NOT_NEGATIVE, doc="seconds, at most; then the run stops, and can be resumed"
    )
    shortest: float = option(1.0, bounds=POSITIVE, doc="seconds before the judge is asked again; doubled every time")
    longest: float = option(15.0, bounds=POSITIVE, doc="seconds between two questions, at most")


@dataclass(frozen=True)
class JudgeOptions(ClientOptions):
    """The judge and its client: ``ClientOptions`` with the recipe's model, and the fields of ``JudgeSpec``."""

    kind: Literal["none", "offline", "llm"] = option("llm", doc="none (programmatic rewards alone), offline or llm")
    provider: str = again(ClientOptions, "provider", "gemini")
    model: str = again(ClientOptions, "model", "gemini-3-flash-preview")
    concurrency: int = again(ClientOptions, "concurrency", 32)
    timeout: float = again(ClientOptions, "timeout", 600.0)
    samples: int = again(JudgeSpec, "samples", 1)
    temperature: float = again(JudgeSpec, "temperature", 0.2)
    rubric: str = again(JudgeSpec, "rubric", "full")
    max_tokens: int | None = again(JudgeSpec, "max_tokens", None)
    pause: PauseOptions = section(PauseOptions(), execution=True, doc="while the judge is away")


@dataclass(frozen=True)
class ValidationOptions:
    """Validation: one response to each held-out prompt at intervals."""

    every: int = option(20, bounds=POSITIVE, doc="steps between validations; there is one after the last step too")
    first: bool = option(True, doc="validate before the first step too")
    benches: tuple[str, ...] = option(
        (), doc="benchmarks of polaris evaluate, at every validation; the run's judge judges them"
    )
    bench_limit: int = option(8, bounds=NOT_NEGATIVE, doc="prompts of each benchmark, evenly spread (0: all)")
    distributions: bool = option(False, doc="write how every number is distributed, not only its mean")
    bins: int = option(50, bounds=POSITIVE, doc="number of bins of the histograms")
