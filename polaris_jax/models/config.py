"""What a decoder is: one frozen ``ModelConfig`` for every family, read from and written to HF ``config.json``.

``FAMILIES`` says how the families differ in kind; everything in size is a field. Anything the model code does not
compute (another activation, biases, an unknown RoPE type) is refused here, before a byte of weights is read.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.ops.rotary import Rope

LAYER_TYPES = ("full_attention", "sliding_attention", "linear_attention")


@dataclass(frozen=True)
class Family:
    """How one family differs from the pre-norm Llama block.

    Attributes:
      architecture: the ``transformers`` class that loads our files.
      query_key_norm: RMS norm over ``head_dim`` on every query and key head, before RoPE.
      zero_centred_norm: gains are stored as their difference from one.
      output_gate: the query projection also makes a sigmoid gate for the attention output.
      scaled_embedding: the embedding is multiplied by the root of the hidden size.
      output_norms: both halves of a block have a norm behind them too, before the residual sum.
      qkv_bias: the query, key and value projections add a bias.
      sliding_window: the file has a ``sliding_window`` that holds wherever it is a number.
      window_switch: it has one that holds only where ``use_sliding_window`` says so, from a given layer on.
      layer_types: the file names the type of every layer.
      default_theta: RoPE base when the file names none; None = the file must name it.
    """

    architecture: str
    query_key_norm: bool = False
    zero_centred_norm: bool = False
    output_gate: bool = False
    scaled_embedding: bool = False
    output_norms: bool = False
    qkv_bias: bool = False
    sliding_window: bool = False
    window_switch: bool = False
    layer_types: bool = False
    default_theta: float | None = None


FAMILIES = {
    "llama": Family("LlamaForCausalLM", default_theta=10000.0),
    "mistral": Family("MistralForCausalLM", sliding_window=True, default_theta=10000.0),
    "ministral3": Family("Ministral3ForCausalLM", sliding_window=True),
    "qwen2": Family("Qwen2ForCausalLM", qkv_bias=True, window_switch=True, layer_types=True, default_theta=10000.0),
    "qwen3": Family("Qwen3ForCausalLM", query_key_norm=True, window_switch=True, layer_types=True),
    "qwen3_5_text": Family(
        "Qwen3_5ForCausalLM", query_key_norm=True, zero_centred_norm=True, output_gate=True, layer_types=True
    ),
}


@dataclass(frozen=True)
class LinearAttention:
    """Sizes of the Gated DeltaNet layers: key/value heads, their widths, and the taps of the causal convolution."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int

    @property
    def channels(self) -> int:
        """Width of the convolved ``[q | k | v]`` row."""
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim


@dataclass(frozen=True)
class ModelConfig:
    """A decoder's shape. Frozen and hashable, so it can be a static argument of ``jax.jit``.

    Attributes:
      model_type: key of ``FAMILIES``.
      layer_types: one of ``LAYER_TYPES`` per layer.
      sliding_window: tokens a ``sliding_attention`` layer looks back over, itself included.
      query_scale_beta, query_scale_length: Ministral 3 multiplies the query at position p by
        ``1 + beta * ln(1 + floor(p / length))``; beta 0 = off.
      linear: sizes of the ``linear_attention`` layers, None without any.
      vocab_rows: rows stored in embedding and head when padded beyond ``vocab_size``; 0 = not padded.
      eos_token_ids: every id that ends a text.
      logit_soft_cap: logits are ``cap * tanh(logits / cap)``; 0 = off.
      mrope_section: Qwen3.5's split of the rotary dims between text and image axes; text does not need it, files do.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope: Rope
    norm_eps: float
    tie_embeddings: bool
    layer_types: tuple[str, ...]
    max_positions: int
    sliding_window: int | None = None
    query_scale_beta: float = 0.0
    query_scale_length: int = 0
    linear: LinearAttention | None = None
    vocab_rows: int = 0
    bos_token_id: int | None = None
    eos_token_ids: tuple[int, ...] = ()
    pad_token_id: int | None = None
    mrope_section: tuple[int, ...] = ()
    logit_soft_cap: float = 0.0

    def __post_init__(self):
        if self.model_type not in FAMILIES:
            raise InputError("model_type", self.model_type, f"not one of {', '.join(FAMILIES)}")
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_layers",
            "num_heads",
            "num_kv_heads",
            "head_dim",
        ):
            if getattr(self, name) < 1:
                raise InputError(name, getattr(self, name), "must be at least 1")
        if self.num_heads % self.num_kv_heads:
            raise InputError("num_key_value_heads", self.num_kv_heads, f"must divide the {self.num_heads} query heads")
        if len(self.layer_types) != self.num_layers:
            raise InputError("layer_types", self.layer_types, f"must name {self.num_layers} layers")
        for kind in self.layer_types:
            if kind not in LAYER_TYPES:
                raise InputError("layer_types", kind, f"not one of {', '.join(LAYER_TYPES)}")
        if "linear_attention" in self.layer_types:
            if self.linear is None:
                raise InputError("linear_num_value_heads", None, "linear_attention layers need their linear_* sizes")
            if self.linear.value_heads % self.linear.key_heads:
                raise InputError("linear_num_key_heads", self.linear.key_heads, "must divide linear_num_value_heads")
        if "sliding_attention" in self.layer_types and not self.sliding_window:
            raise InputError("sliding_window", self.sliding_window, "sliding_attention layers need a window in tokens")
        if self.rope.dim % 2 or not 0 < self.rope.dim <= self.head_dim:
            raise InputError("partial_rotary_factor", self.rope.dim, f"needs an even number of dims <= {self.head_dim}")
        if self.vocab_rows and self.vocab_rows < self.vocab_size:
            raise InputError("vocab_rows", self.vocab_rows, f"cannot hold {self.vocab_size} tokens")

    @property
    def family(self) -> Family:
        return FAMILIES[self.model_type]

    @property
    def rows(self) -> int:
        """Rows of the embedding as stored: ``vocab_size``, or more when padded to shard evenly."""
        return self.vocab_rows or self.vocab_size

    @property
    def delta_rule(self) -> LinearAttention:
        """Sizes of the ``linear_attention`` layers of a model that has some."""
        assert self.linear is not None, "checked when the config was made"
        return self.linear

    @property
    def recurrent(self) -> bool:
        """Whether some layer keeps a state of fixed size that passes from token to token."""
        return "linear_attention" in self.layer_types

    @property
    def group(self) -> tuple[str, ...]:
        """The shortest run of layer types whose repetition is the whole stack: the body of the scan over layers."""
        for period in range(1, self.num_layers + 1):
            if self.num_layers % period == 0:
                group = self.layer_types[:period]
                if group * (self.num_layers // period) == self.layer_types:
                    return group
        raise AssertionError("the whole stack is always a period of itself")

    @classmethod
    def from_hf(cls, hf: Mapping[str, Any], *, has_head: bool | None = None) -> "ModelConfig":
        """Reads a parsed ``config.json``, flat or with a nested ``text_config``, with either RoPE spelling.

        Args:
          hf: the parsed file.
          has_head: whether the checkpoint stores a separate output matrix; decides tying when the file is silent about
            it, because the classes' defaults differ, or says both at its two levels.

        Raises:
          InputError: an unknown model or RoPE type, a missing field, or an option that the model code does not compute.
        """
        text = hf.get("text_config") or hf
        model_type = text.get("model_type", hf.get("model_type"))
        if model_type not in FAMILIES:
            raise InputError("model_type", model_type, f"not one of {', '.join(FAMILIES)}")
        _refuse_uncomputed(text)

        def need(name: str) -> int:
            if text.get(name) is None:
                raise InputError(name, None, f"missing from the config of this {model_type} model")
            return _whole(name, text[name])

        tied = _read_tied(hf, text, has_head)
        heads, layers = need("num_attention_heads"), need("num_hidden_layers")
        head_dim = _whole("head_dim", text.get("head_dim") or need("hidden_size") // max(heads, 1))
        rope, spelled = _read_rope(text, model_type, head_dim)
        window = text.get("sliding_window")
        if FAMILIES[model_type].window_switch and not text.get("use_sliding_window"):
            window = None
        eos = text.get("eos_token_id", hf.get("eos_token_id"))
        return cls(
            model_type=model_type,
            vocab_size=need("vocab_size"),
            hidden_size=need("hidden_size"),
            intermediate_size=need("intermediate_size"),
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=_whole("num_key_value_heads", text.get("num_key_value_heads") or heads),
            head_dim=head_dim,
            rope=rope,
            norm_eps=_positive("rms_norm_eps", text.get("rms_norm_eps")),
            tie_embeddings=tied,
            layer_types=_read_layer_types(text, model_type, layers, window),
            max_positions=need("max_position_embeddings"),
            sliding_window=window,
            query_scale_beta=float(spelled.get("llama_4_scaling_beta") or 0.0),
            query_scale_length=rope.original_length if spelled.get("llama_4_scaling_beta") else 0,
            linear=_read_linear(text),
            bos_token_id=text.get("bos_token_id"),
            eos_token_ids=() if eos is None else tuple(eos) if isinstance(eos, list | tuple) else (eos,),
            pad_token_id=text.get("pad_token_id"),
            mrope_section=tuple(spelled.get("mrope_section") or ()),
        )

    def to_hf(self) -> dict[str, Any]:
        """The flat ``config.json`` that ``transformers`` and ``from_hf`` read back; padding rows are not mentioned."""
        eos = self.eos_token_ids
        out: dict[str, Any] = {
            "architectures": [self.family.architecture],
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": self.tie_embeddings,
            "rope_parameters": _write_rope(self),
            "bos_token_id": self.bos_token_id,
            "eos_token_id": list(eos) if len(eos) > 1 else eos[0] if eos else None,
            "pad_token_id": self.pad_token_id,
        }
        if self.family.sliding_window or self.family.window_switch:
            out["sliding_window"] = self.sliding_window
        if self.family.window_switch:
            out["use_sliding_window"] = self.sliding_window is not None
        if self.family.layer_types:
            out["layer_types"] = list(self.layer_types)
        if self.query_scale_beta:  # vLLM reads it here, transformers among the RoPE parameters
            out["llama_4_scaling"] = {
                "original_max_position_embeddings": self.query_scale_length,
                "beta": self.query_scale_beta,
            }
        if self.linear is not None:
            out |= {hf: getattr(self.linear, ours) for ours, hf in _LINEAR_FIELDS.items()}
        return out


_LINEAR_FIELDS = {
    "key_heads": "linear_num_key_heads",
    "value_heads": "linear_num_value_heads",
    "key_dim": "linear_key_head_dim",
    "value_dim": "linear_value_head_dim",
    "conv_kernel": "linear_conv_kernel_dim",
}


def _refuse_uncomputed(text: Mapping[str, Any]) -> None:
    for name in ("attention_bias", "mlp_bias"):
        if text.get(name):
            raise InputError(name, text[name], "projections with biases are not implemented")
    if text.get("hidden_act", "silu") != "silu":
        raise InputError("hidden_act", text["hidden_act"], "only silu is implemented")
    if text.get("attn_output_gate", True) is not True:
        raise InputError("attn_output_gate", text["attn_output_gate"], "Qwen3.5 has no other form here")


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(name, value, "must be a whole number")
    return value


def _positive(name: str, value: Any) -> float:
    """A finite number above 0; anything else, nothing included, is refused."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InputError(name, value, "must be given, as a number above 0")
    return value


def _read_tied(hf: Mapping[str, Any], text: Mapping[str, Any], has_head: bool | None) -> bool:
    said, outside = text.get("tie_word_embeddings"), bool(hf.get("tie_word_embeddings", False))
    if said is None:
        return outside if has_head is None else not has_head
    # A multimodal class ties by its own switch, whatever its text part says; a head that is stored all the same counts.
    return bool(said) or (outside and has_head is False)


def _read_layer_types(text, model_type: str, layers: int, window: int | None) -> tuple[str, ...]:
    family = FAMILIES[model_type]
    if family.layer_types and text.get("layer_types"):
        return tuple(text["layer_types"])
    if model_type == "qwen3_5_text":
        every = text.get("full_attention_interval", 4)
        return tuple("linear_attention" if (i + 1) % every else "full_attention" for i in range(layers))
    if family.window_switch and window is not None:
        full = text.get("max_window_layers", layers)
        return ("full_attention",) * min(full, layers) + ("sliding_attention",) * max(layers - full, 0)
    return ("full_attention" if window is None else "sliding_attention",) * layers


def _read_linear(text) -> LinearAttention | None:
    if not all(text.get(hf) for hf in _LINEAR_FIELDS.values()):
        return None
    return LinearAttention(**{ours: text[hf] for ours, hf in _LINEAR_FIELDS.items()})


def _read_rope(text, model_type: str, head_dim: int) -> tuple[Rope, Mapping[str, Any]]:
    """The rotary embedding and the merged dictionary it was spelled in (``rope_parameters``, or the older two keys)."""
    spelled = dict(text.get("rope_scaling") or {}) | dict(text.get("rope_parameters") or {})
    theta = spelled.get("rope_theta") or text.get("rope_theta") or FAMILIES[model_type].default_theta
    if theta is None:
        raise InputError("rope_parameters.rope_theta", None, f"missing from the config of this {model_type} model")
    kind = spelled.get("rope_type") or spelled.get("type") or "default"
    share = spelled.get("partial_rotary_factor") or text.get("partial_rotary_factor")
    if share is None:
        share = 0.25 if model_type == "qwen3_5_text" else 1.0
    theta = float(_positive("rope_theta", theta))
    fields: dict[str, Any] = {"theta": theta, "dim": int(head_dim * share), "kind": kind}
    if kind == "default":
        return Rope(**fields), spelled
    if kind not in ("llama3", "yarn"):
        raise InputError("rope_type", kind, "not one of default, llama3, yarn")
    longest = _whole("max_position_embeddings", text.get("max_position_embeddings"))
    length = text.get("original_max_position_embeddings") or spelled.get("original_max_position_embeddings")
    fields["original_length"] = _whole("original_max_position_embeddings", length or longest)
    if kind == "llama3":  # nothing says what stands in for one that is missing, unlike in YaRN
        scales = ("factor", "low_freq_factor", "high_freq_factor")
        fields |= {name: float(_positive(name, spelled.get(name))) for name in scales}
        return Rope(**fields), spelled
    fields["factor"] = float(_positive("factor", spelled.get("factor") or longest / fields["original_length"]))
    optional = ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")
    fields |= {name: float(spelled[name]) for name in optional if spelled.get(name)}
    fields["truncate"] = bool(spelled.get("truncate", True))
    return Rope(**fields), spelled


def _write_rope(config: ModelConfig) -> dict[str, Any]:
    rope = config.rope
    out: dict[str, Any] = {"rope_type": rope.kind, "rope_theta": rope.theta}
    if rope.kind != "default":
        out |= {"factor": rope.factor, "original_max_position_embeddings": rope.original_length}
    if rope.kind == "llama3":
        out |= {"low_freq_factor": rope.low_freq_factor, "high_freq_factor": rope.high_freq_factor}
    if rope.kind == "yarn":
        out |= {"beta_fast": rope.beta_fast, "beta_slow": rope.beta_slow, "truncate": rope.truncate}
        gains = {name: getattr(rope, name) for name in ("attention_factor", "mscale", "mscale_all_dim")}
        out |= {name: value for name, value in gains.items() if value}
    if config.query_scale_beta:
        out["llama_4_scaling_beta"] = config.query_scale_beta
    if rope.dim != config.head_dim:
        share = rope.dim / config.head_dim
        # Readers take int(head_dim * share), which must not fall one short by rounding.
        out["partial_rotary_factor"] = share if int(config.head_dim * share) == rope.dim else math.nextafter(share, 1.0)
    if config.mrope_section:
        out |= {"mrope_section": list(config.mrope_section), "mrope_interleaved": True}
    return out
