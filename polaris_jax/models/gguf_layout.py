"""How GGUF files lay out the decoders of this room: architectures, tensor names, rotary scaling, order of rows.

Names and keys follow llama.cpp. Its ``llama`` and ``mistral3`` turn neighbouring rotary dims together, where the
Hugging Face layout turns ``i`` with ``i + r/2``: the rows of their query and key projections are reordered. The others
keep it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.tensors import HFTensor
from polaris_jax.ops.rotary import Rope, frequencies

ROPE_FACTORS = "rope_freqs.weight"
_TENSORS = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
    "self_attn.q_proj.bias": "attn_q.bias",
    "self_attn.k_proj.bias": "attn_k.bias",
    "self_attn.v_proj.bias": "attn_v.bias",
    "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


@dataclass(frozen=True)
class Architecture:
    """A ``general.architecture``: the family it is read as, and whether rotary pairs are neighbours in it."""

    model_type: str
    interleaved: bool


ARCHITECTURES = {
    "llama": Architecture("llama", interleaved=True),
    "mistral3": Architecture("ministral3", interleaved=True),
    "qwen2": Architecture("qwen2", interleaved=False),
    "qwen3": Architecture("qwen3", interleaved=False),
}
# What each family is written as; a Mistral is a Llama to llama.cpp.
WRITTEN_AS = {"llama": "llama", "mistral": "llama", "ministral3": "mistral3", "qwen2": "qwen2", "qwen3": "qwen3"}


def gguf_name(hf_name: str) -> str:
    """The GGUF name of a tensor by its Hugging Face name."""
    if hf_name in _OUTSIDE:
        return _OUTSIDE[hf_name]
    layer, _, rest = hf_name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_TENSORS[rest]}"


def rotated_heads(config: ModelConfig, hf_name: str) -> int:
    """Heads of a query or key projection (or its bias), whose rows go in rotary pairs; 0 for other tensors."""
    part = hf_name.split(".", 3)[-1]
    if part.startswith("self_attn.q_proj."):
        return config.num_heads
    return config.num_kv_heads if part.startswith("self_attn.k_proj.") else 0


def neighbours_first(tensor: HFTensor, heads: int) -> HFTensor:
    """Half-split rotary dims (Hugging Face) as neighbouring pairs (GGUF's llama), read a few heads at a time."""
    width = tensor.shape[0] // heads
    return _reordered(tensor, width, np.arange(width).reshape(2, width // 2).T.reshape(-1))


def halves_first(tensor: HFTensor, heads: int) -> HFTensor:
    """The inverse of ``neighbours_first``."""
    width = tensor.shape[0] // heads
    return _reordered(tensor, width, np.arange(width).reshape(width // 2, 2).T.reshape(-1))


def _reordered(tensor: HFTensor, width: int, order: np.ndarray) -> HFTensor:
    def rows(start: int, stop: int) -> np.ndarray:
        first, last = start // width, -(-stop // width)
        heads = tensor.rows(first * width, last * width)
        heads = heads.reshape(last - first, width, *heads.shape[1:])[:, order]
        return heads.reshape(-1, *heads.shape[2:])[start - first * width : stop - first * width]

    return HFTensor(tensor.shape, tensor.dtype, rows)


# Rotary scaling, out.


def rope_factors(rope: Rope) -> np.ndarray | None:
    """Llama 3's scaling as GGUF stores it: what each frequency is divided by, ``[r/2] float32``; None without."""
    if rope.kind != "llama3":
        return None
    return (frequencies(Rope(rope.theta, rope.dim)) / frequencies(rope)).astype(np.float32)


def write_rope(writer: Any, config: ModelConfig) -> None:
    """The keys of the rotary embedding, and of Ministral's query scaling.

    Raises:
      InputError: a form of YaRN that llama.cpp does not compute.
    """
    from gguf import RopeScalingType

    rope = config.rope
    writer.add_rope_dimension_count(rope.dim)
    writer.add_rope_freq_base(rope.theta)
    if rope.kind != "yarn":
        return
    if not rope.truncate:
        raise InputError("rope_parameters.truncate", False, "llama.cpp rounds YaRN's ramp; write Hugging Face format")
    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(rope.factor)
    writer.add_rope_scaling_orig_ctx_len(rope.original_length)
    writer.add_rope_scaling_yarn_beta_fast(rope.beta_fast)
    writer.add_rope_scaling_yarn_beta_slow(rope.beta_slow)
    own = _yarn_gain(rope.factor)
    if config.model_type == "ministral3":  # llama.cpp's own gain is cancelled in this architecture
        if not math.isclose(rope.gain, 1.0, rel_tol=1e-6):
            raise InputError("rope_parameters.mscale", rope.gain, "llama.cpp has a gain of 1 in this family")
        writer.add_rope_scaling_yarn_log_mul(1.0)
        if config.query_scale_beta:
            if config.query_scale_length != rope.original_length:
                raise InputError("llama_4_scaling", config.query_scale_length, "llama.cpp takes the original length")
            writer.add_attn_temperature_scale(config.query_scale_beta)
        return
    if (rope.beta_fast, rope.beta_slow) != (32.0, 1.0):
        ramp = (rope.beta_fast, rope.beta_slow)
        raise InputError("rope_parameters.beta_fast", ramp, "llama.cpp has 32 and 1 in this family; write --to hf")
    if not math.isclose(rope.gain, own, rel_tol=1e-6):
        writer.add_rope_scaling_attn_factors(rope.gain / own)


def _yarn_gain(factor: float) -> float:
    return 1.0 + 0.1 * math.log(factor) if factor > 1 else 1.0


# Rotary scaling, in.


def read_rope(arch: str, dim: int, need: Callable[..., Any], factors: np.ndarray | None) -> Rope:
    """The rotary embedding of a file.

    Args:
      need: ``(key after the architecture, default) -> value``.
      factors: the tensor ``ROPE_FACTORS``, ``[r/2] float32``, or None.

    Raises:
      InputError: a scaling that the models do not compute.
    """
    theta = float(need("rope.freq_base", 10000.0))
    kind = need("rope.scaling.type", "none")
    if factors is not None:
        return _llama3(theta, dim, np.asarray(factors, np.float64))
    if kind == "none" or (kind == "linear" and need("rope.scaling.factor", 1.0) == 1.0):
        return Rope(theta=theta, dim=dim)
    if kind != "yarn":
        raise InputError(f"{arch}.rope.scaling.type", kind, "only plain RoPE, YaRN and Llama 3's factors are computed")
    factor, gain = float(need("rope.scaling.factor")), float(need("rope.scaling.attn_factor", 1.0))
    cancelled = arch == "mistral3"
    return Rope(
        theta=theta,
        dim=dim,
        kind="yarn",
        factor=_digits(factor),
        original_length=int(need("rope.scaling.original_context_length")),
        beta_fast=float(need("rope.scaling.yarn_beta_fast", 32.0)),
        beta_slow=float(need("rope.scaling.yarn_beta_slow", 1.0)),
        mscale=1.0 if cancelled else 0.0,
        mscale_all_dim=1.0 if cancelled else 0.0,
        attention_factor=None if gain == 1.0 else gain * _yarn_gain(factor),
    )


def _llama3(theta: float, dim: int, factors: np.ndarray) -> Rope:
    """Llama 3's parameters from its factors.

    The share of a frequency that is kept is ``a f - b`` between the two bands, so only two numbers besides the largest
    factor are in the file; with the low band at one turn (as released) the others follow.
    """
    plain = frequencies(Rope(theta, dim))
    scaled, largest = plain / factors, float(factors.max())
    if len(factors) != len(plain) or largest < 1:
        raise InputError(ROPE_FACTORS, len(factors), f"does not fit {dim} rotary dims")
    if largest == 1:
        return Rope(theta=theta, dim=dim)
    keep = (scaled / plain - 1 / largest) / (1 - 1 / largest)
    between = (keep > 1e-4) & (keep < 1 - 1e-4)
    guesses = [(4.0, 8192)]
    if between.sum() >= 2:
        slope, offset = np.polyfit(plain[between], keep[between], 1)
        high = 1 - 1 / offset
        guesses.insert(0, (_digits(high), round(slope * 2 * math.pi * (high - 1))))
    for high, length in guesses:
        rope = Rope(theta, dim, "llama3", _digits(largest), length, low_freq_factor=1.0, high_freq_factor=high)
        if length > 0 and high > 1 and np.allclose(frequencies(rope), scaled, rtol=1e-4):
            return rope
    raise InputError(ROPE_FACTORS, [largest], "are not Llama 3's; load the Hugging Face release")


def _digits(value: float) -> float:
    """A float32 read from a file with the digits that it holds: 1e-5 comes back as 9.999999747e-06 otherwise."""
    return float(f"{value:.6g}")


def rounded(value: Any) -> float:
    """``value`` as a float with six significant digits, those of a float32."""
    return _digits(float(value))


def whole(meta: Mapping[str, Any], key: str, value: Any) -> int:
    """A count of the file.

    Raises:
      InputError: it is missing, or one number per layer.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(key, value, "must be one whole number; models whose layers differ are not computed")
    return int(value)
