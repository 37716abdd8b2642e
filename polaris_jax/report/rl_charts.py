"""The charts of a post-training run: rewards, lengths, failures of the judge, and the policy's change."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polaris_jax.report.charts import ChartFrame, Series, line_chart
from polaris_jax.report.curves import points
from polaris_jax.report.metric_charts import SMALL
from polaris_jax.rewards.terms import TERMS

POLICY, REFERENCE = "t1", "t3"  # classes of the two colours
COMPONENTS = {term.name: term.title for term in TERMS}
# Title of a group → metric → label. A metric that a run does not log is left out.
GROUPS: dict[str, dict[str, str]] = {
    "Completions": {
        "rollout/tokens": "tokens per completion",
        "rollout/cut_off": "share cut off at the limit",
        "length/error": "length error, |log(words / target)|",
        "length/reference": "words of the human references",
    },
    "Judge": {
        "reward/failed": "failed judgements per step",
        "judge/usd": "spent so far (USD)",
        "judge/calls": "calls so far",
        "judge/cached": "answers from the cache so far",
        "judge/tokens": "tokens so far",
        "judge/paused_s": "paused for the judge so far (s)",
        "time/judge_wait_s": "waiting for the judge (s)",
        "time/judge_threads_s": "judging, all threads (s)",
    },
    "Human reference": {
        "reference/best": "share of groups in which it is the best",
        "reference/advantage": "its mean advantage",
        "reference/weight": "its weight in the loss",
        "cloning/weight": "weight of cloning it",
    },
    "Policy": {
        "sampler/surprise": "entropy estimate: −log p of sampled tokens (nats)",
        "policy/kl_old": "KL from the policy before the step (nats per token)",
        "loss/divergence": "KL to the reference policy, in the loss",
        "policy/ratio": "mean ratio to the policy before the step",
        "policy/clipped": "share of tokens with a clipped ratio",
        "policy/clipped_lower": "share clipped by the dual clip",
        "sampler/correction": "importance weight, learner over sampler",
        "sampler/gap": "|log p| between learner and sampler (nats)",
        "sampler/sample_share": "effective sample share",
    },
    "Pairs": {
        "validation/loss": "loss on held-out pairs (nats)",
        "validation/margin": "margin on held-out pairs (nats)",
        "validation/accuracy": "share of held-out pairs ranked rightly",
        "dpo/margin": "margin of a step's pairs (nats)",
        "dpo/accuracy": "share of a step's pairs ranked rightly",
        "dpo/chosen_reward": "reward of the chosen answers (nats)",
        "dpo/rejected_reward": "reward of the rejected answers (nats)",
        "dpo/chosen_logprob": "log p of the chosen answers (nats per token)",
        "dpo/rejected_logprob": "log p of the rejected answers (nats per token)",
        "orpo/margin": "log odds ratio of a step's pairs",
        "orpo/accuracy": "share of a step's pairs ranked rightly",
    },
    "Update": {
        "loss/policy": "policy part of the loss (surrogate objective)",
        "loss/cloning": "cloning part of the loss",
        "orpo/loss": "ORPO loss (nats)",
        "dpo/loss": "DPO loss (nats)",
        "grad_norm": "gradient norm",
        "update_norm": "update norm",
        "learning_rate": "learning rate",
        "skipped_steps": "skipped updates",
    },
    "Time": {
        "step_time_s": "step (s)",
        "time/rollout_s": "writing (s)",
        "time/update_s": "update (s)",
        "time/idle_fraction": "share of a step the mesh idles",
        "rollout/tokens_per_s": "tokens written per second",
        "rollout/occupancy": "share of slots in use",
    },
}


@dataclass(frozen=True)
class NamedChart:
    """A chart under a label, with the latest value of its first curve."""

    label: str
    chart: Markup
    latest: float


@dataclass(frozen=True)
class ChartGroup:
    """Small charts under a heading."""

    title: str
    charts: list[NamedChart]


def reward_chart(records: Sequence[dict]) -> Markup | None:
    """The mean reward of the policy's completions and of the human references; None before the first step."""
    return _lines(records, {"policy": "reward/policy", "human reference": "reward/reference"}, "Mean reward")


def component_charts(records: Sequence[dict]) -> list[NamedChart]:
    """Every component of the reward before weights: policy beside human reference."""
    found = []
    for name, label in COMPONENTS.items():
        keys = {"policy": f"reward/policy/{name}", "human reference": f"reward/reference/{name}"}
        chart = _lines(records, keys, label, SMALL)
        if chart is not None:
            latest = next(points(records, key)[-1][1] for key in keys.values() if points(records, key))
            found.append(NamedChart(label, chart, latest))
    return found


def length_chart(records: Sequence[dict]) -> Markup | None:
    """Written and requested words, as means over a step's completions."""
    return _lines(records, {"written": "length/words", "asked for": "length/target"}, "Words")


def failure_kinds(records: Sequence[dict]) -> dict[str, tuple[float, float]]:
    """Kind of failed judgement → its count in the run and in the last step."""
    prefix = "judge/failed/"
    names = sorted({key for record in records for key in record if key.startswith(prefix)})
    return {
        name.removeprefix(prefix): (
            sum(y for _, y in points(records, name)),
            float(records[-1].get(name, 0.0)) if records else 0.0,
        )
        for name in names
    }


def chart_groups(records: Sequence[dict]) -> list[ChartGroup]:
    """``GROUPS``, validation, and every other logged metric."""
    shown = {"step", "reward/policy", "reward/reference", "length/words", "length/target"}
    shown |= {f"reward/{who}/{name}" for who in ("policy", "reference") for name in COMPONENTS}
    shown |= {key for metrics in GROUPS.values() for key in metrics}
    groups = [ChartGroup(title, _small(records, metrics)) for title, metrics in GROUPS.items()]
    rest = sorted({key for record in records for key in record if not key.startswith("judge/failed/")} - shown)
    held_out = {key: key.removeprefix("validation/") for key in rest if key.startswith("validation/")}
    groups.append(ChartGroup("Held-out prompts", _small(records, held_out)))
    groups.append(ChartGroup("Other metrics", _small(records, {key: key for key in rest if key not in held_out})))
    return [group for group in groups if group.charts]


def _small(records: Sequence[dict], metrics: dict[str, str]) -> list[NamedChart]:
    found = []
    for key, label in metrics.items():
        curve = points(records, key)
        if curve:
            series = [Series(label, "plain", curve)]
            found.append(
                NamedChart(label, line_chart(series, label, frame=SMALL, x_label="", smooth=False), curve[-1][1])
            )
    return found


def _lines(
    records: Sequence[dict], keys: dict[str, str], label: str, frame: ChartFrame = ChartFrame(720, 260)
) -> Markup | None:
    colours = (POLICY, REFERENCE)
    curves = {name: points(records, key) for name, key in keys.items()}
    series = [Series(name, css, curve) for (name, curve), css in zip(curves.items(), colours, strict=True) if curve]
    x_label = "step" if frame is not SMALL else ""
    return line_chart(series, label, frame=frame, x_label=x_label, smooth=frame is not SMALL) if series else None
