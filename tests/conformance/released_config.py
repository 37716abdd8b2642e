"""For golden cases: the released trainer's configuration, and its preparation of judge calls (POLARIS §3.3.1, §11)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.rewards.length import LengthSpec, Tolerance
from polaris_jax.rewards.quality import QualitySpec
from polaris_jax.rewards.released import THINK_REWARD_MODES, ReleasedSpec
from polaris_jax.rewards.repetition import RepetitionSpec
from polaris_jax.rewards.spec import RewardSpec

_NATIVE = {
    "openai": ("gpt-4", "gpt-5", "o"),
    "vertex": (
        "gemini-3-pro-preview",
        "gemini-3-flash-preview",
        "gemini-2.5-pro",
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-2.0-flash",
        "gemini-2.0-flash-lite",
    ),
}
_MOST = 108.0  # points; the schema's maximum of the overall score
# Names of settings of the judge's calls, not of the reward.
_OF_CALLS = frozenset(
    f"story_quality_{name}"
    for name in (
        "provider",
        "force_structured_mode",
        "model_name",
        "service_tier",
        "thinking_config",
        "max_retries",
        "retry_backoff_s",
        "async_enable",
        "concurrency",
        "timeout_s",
        "max_output_tokens",
        "temperature",
        "top_p",
        "user_template",
    )
)


def released_spec(kwargs: Mapping[str, Any]) -> ReleasedSpec:
    """The spec that the release's ``reward_kwargs`` describe.

    ``.reward`` serves the intended reward too, where its token penalties count in full instead of getting lost.

    Raises:
      InputError: a name that has no meaning here.
    """
    values = {name: value for name, value in kwargs.items() if name not in _OF_CALLS}

    def take(name: str, default: Any) -> Any:
        value = values.pop(name, None)
        return default if value is None else value

    def tolerance(side: str) -> Tolerance:
        raw = take(f"len_tolerance_{side}", general)
        least, most = take(f"len_tolerance_{side}_abs_min", 0), take(f"len_tolerance_{side}_abs_max", float("inf"))
        return Tolerance(raw, least, most) if isinstance(raw, float) else Tolerance.of(max(0, raw))

    enabled, weights = take("reward_components", {}), take("reward_weights", {})

    def weight(name: str, component: str) -> float:
        return weights.get(name, 0.0) if enabled.get(f"enable_{component}", True) else 0.0

    general = take("len_tolerance", -1)
    target, most_words = take("target_words", -1), take("max_words", -1)
    length = LengthSpec(
        min_words=take("min_words", 150),
        min_visible=take("min_visible_ratio", 0.10),
        lower=tolerance("lower"),
        upper=tolerance("upper"),
        target=target if target > 0 else None,
        max_words=most_words if most_words > 0 else None,
    )
    repetition = RepetitionSpec(
        n=take("rep_n_local", 4),
        window=take("rep_local_window", 80),
        hinge=take("rep_ngram_hinge", 0.10),
        ngrams=take("rep_w_ngram", 1.0),
        lines=take("rep_w_lines", 0.5),
        cap=take("rep_cap", 1.0),
    )
    cap = take("story_quality_penalty_cap_value", 3.0)
    quality = QualitySpec(
        bonus_floor=take("story_quality_bonus_floor_enable", False),
        penalty_cap=cap if take("story_quality_penalty_cap_enable", False) else None,
        scale=take("story_quality_overall_scale", 1.0),
        bias=take("story_quality_overall_bias", 0.0),
        least=take("story_quality_overall_min", -159.0),
        most=take("story_quality_overall_max", _MOST),
        divisor=take("story_quality_score_divisor", _MOST) or 100.0,
        positive_only=take("story_quality_use_positive_total", False),
        dq=take("story_quality_dq_enable", False),
        dq_n2=take("story_quality_dq_n2_threshold", 7.0),
        dq_n10=take("story_quality_dq_n10_threshold", 8.0),
        dq_words=take("story_quality_dq_wc_min_frac", 0.40),
        dq_references=not take("story_quality_dq_exempt_gt", True),
    )
    overlong = take("overlong_buffer_enable", False)
    reward = RewardSpec(
        quality_weight=weight("story_quality", "story_quality"),
        repetition_weight=weight("self_rep", "self_rep"),
        length_weight=weight("length_pen", "blank_len"),
        blank_weight=weight("blank_pen", "blank_len"),
        length_reward_weight=weight("length_reward", "blank_len"),
        clip=take("composite_clip", 2.0),
        reference_best=take("gt_override_best", False),
        quality=quality,
        length=length,
        repetition=repetition,
        think_cap=take("think_len_cap", 3072),
        think_penalty=take("think_len_penalty", 0.0),
        max_tokens=take("overlong_max_response_length", 8192),
        overlong_buffer=take("overlong_buffer_len", 512),
        overlong_penalty=take("overlong_penalty_factor", 1.0) if overlong else 0.0,
    )
    mode = take("think_reward_mode", "story_mean")
    if mode not in THINK_REWARD_MODES:
        raise InputError("think_reward_mode", mode, f"one of {', '.join(THINK_REWARD_MODES)}")
    spec = ReleasedSpec(
        reward, take("story_quality_overall_override_enable", False), mode, take("think_reward_scale", 1.0)
    )
    for name, value in values.items():
        raise InputError(f"reward_kwargs.{name}", value, "has no meaning for the reward")
    return spec


def without_length_sentence(prompt: str) -> str:
    """The prompt up to the sentence that holds its last ``words long``; every full stop ends a sentence."""
    mention = max((found.start() for found in re.finditer(r"words\s+long", prompt, re.IGNORECASE)), default=0)
    start = max((end.end() for end in re.finditer(r"[.!?\n]", prompt[:mention])), default=0)
    return prompt[:start].rstrip() if start else prompt


def native_schema(provider: str, model: str) -> bool:
    """Whether the release lets the provider enforce the judge's schema; else the prompt holds the schema."""
    return model.startswith(_NATIVE.get(provider, ()))


def vertex_schema(schema: Any) -> Any:
    """A JSON schema as the release simplifies it for Vertex: no patterns, numeric enums and constants as ranges."""
    if isinstance(schema, list):
        return [vertex_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    simple = {key: vertex_schema(part) for key, part in schema.items() if key not in ("pattern", "enum", "const")}
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if allowed is None:
        return simple
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in allowed):
        whole = all(isinstance(value, int) for value in allowed)
        return simple | {
            "type": "integer" if whole else "number",
            "minimum": float(min(allowed)),
            "maximum": float(max(allowed)),
        }
    if all(isinstance(value, str) for value in allowed):
        return simple | {key: schema[key] for key in ("enum", "const") if key in schema}
    return simple | {"enum": [v if isinstance(v, str) else json.dumps(v) for v in allowed], "type": "string"}
