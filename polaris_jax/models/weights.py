"""The one table of weights: shape, logical axes, initialiser and Hugging Face name of every array of a decoder.

The abstract tree, the shardings, the initial values and the HF mapping all derive from ``weight_table``. Layers that
repeat are stacked: ``("blocks", "1", "attention", "q")`` holds, along its leading axis, the query projections of
layers 1, 1 + p, 1 + 2p, ... of a stack whose layer types repeat with period p.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh

from polaris_jax.models.config import ModelConfig
from polaris_jax.sharding import weight_sharding

Path = tuple[str, ...]
Params = dict[str, Any]
Table = dict[Path, "Weight"]
Init = Literal["normal", "residual", "embedding", "zeros", "ones", "decay", "uniform"]


@dataclass(frozen=True)
class Weight:
    """One stored array.

    Attributes:
      shape: as stored, with the stacking axis in front for block weights.
      axes: a logical axis per dimension (``sharding.rules``).
      hf_name: tensor name in a flat HF checkpoint; ``{layer}`` stands for the layer's number.
      init: ``normal`` (standard deviation ``fan_in ** -0.5``), ``residual`` (the same over the root of the number of
        residual branches), ``embedding`` (0.02), ``zeros``, ``ones``, or ``decay`` (log of a uniform 1..16).
      fan_in: inputs that one output sums over.
      transpose: HF stores the axes in reverse order (``[out, in]``).
      heads: ``(heads, width of one)`` of every part that lies along the dimension of the heads, where a device's slice
        of that dimension may not be the heads it computes: several parts side by side, or fewer heads than devices.
      float32: stays float32 whatever the model's dtype, because its rounding error grows along the sequence.
      whole_numbers: dtype of codes (``ops.quantized``), which is theirs whatever the model's dtype; None: numbers.
      layers: decoder layers stacked along axis 0, in order; None for weights outside the blocks.
    """

    shape: tuple[int, ...]
    axes: tuple[str | None, ...]
    hf_name: str
    init: Init = "normal"
    fan_in: int = 1
    transpose: bool = False
    heads: tuple[tuple[int, int], ...] = ()
    float32: bool = False
    whole_numbers: Literal["int8", "uint8"] | None = None
    layers: tuple[int, ...] | None = None

    def hf_tensors(self) -> Iterator[tuple[str, int | None]]:
        """``(HF tensor name, index along the stacking axis)`` of every tensor this array is made of."""
        if self.layers is None:
            yield self.hf_name, None
        else:
            for index, layer in enumerate(self.layers):
                yield self.hf_name.format(layer=layer), index

    @property
    def hf_shape(self) -> tuple[int, ...]:
        """Shape of one HF tensor."""
        one = self.shape if self.layers is None else self.shape[1:]
        return one[::-1] if self.transpose else one


def weight_table(config: ModelConfig) -> dict[Path, Weight]:
    """Every weight of ``config``'s decoder by its path in the parameter tree."""
    V, D = config.rows, config.hidden_size
    table: dict[Path, Weight] = {
        ("embed", "embedding"): Weight((V, D), ("vocab", "embed"), "model.embed_tokens.weight", "embedding"),
        ("norm", "scale"): _gain(config, "model.norm", D),
    }
    if not config.tie_embeddings:
        table["head", "kernel"] = _matrix("lm_head", (D, V), ("embed", "vocab"))
    period = len(config.group)
    for j, kind in enumerate(config.group):
        layers = tuple(range(j, config.num_layers, period))
        for path, weight in _layer_weights(config, kind):
            table["blocks", str(j), *path] = replace(
                weight,
                shape=(len(layers), *weight.shape),
                axes=("layers", *weight.axes),
                hf_name="model.layers.{layer}." + weight.hf_name,
                layers=layers,
            )
    return table


def _layer_weights(config: ModelConfig, kind: str) -> Iterator[tuple[Path, Weight]]:
    D, F = config.hidden_size, config.intermediate_size
    yield ("norm_in", "scale"), _gain(config, "input_layernorm", D)
    yield from (_linear_attention_weights if kind == "linear_attention" else _attention_weights)(config)
    if config.family.output_norms:  # the names that Gemma 2 and 3 store four norms under
        yield ("norm_mixed", "scale"), _gain(config, "post_attention_layernorm", D)
        yield ("norm_post", "scale"), _gain(config, "pre_feedforward_layernorm", D)
        yield ("norm_mlp", "scale"), _gain(config, "post_feedforward_layernorm", D)
    else:
        yield ("norm_post", "scale"), _gain(config, "post_attention_layernorm", D)
    yield ("mlp", "gate"), _matrix("mlp.gate_proj", (D, F), ("embed", "mlp"))
    yield ("mlp", "up"), _matrix("mlp.up_proj", (D, F), ("embed", "mlp"))
    yield ("mlp", "down"), _matrix("mlp.down_proj", (F, D), ("mlp", "embed"), init="residual")


def _attention_weights(config: ModelConfig) -> Iterator[tuple[Path, Weight]]:
    D, d = config.hidden_size, config.head_dim
    Q, KV = config.num_heads * d, config.num_kv_heads * d
    # With an output gate the projection makes [q | gate] per head.
    wide = 2 * Q if config.family.output_gate else Q
    keys = ((config.num_kv_heads, d),)
    yield ("attention", "q"), _matrix("self_attn.q_proj", (D, wide), ("embed", "heads"))
    yield ("attention", "k"), _matrix("self_attn.k_proj", (D, KV), ("embed", "kv_heads"), heads=keys)
    yield ("attention", "v"), _matrix("self_attn.v_proj", (D, KV), ("embed", "kv_heads"), heads=keys)
    if config.family.qkv_bias:
        yield ("attention", "q_bias"), Weight((wide,), ("heads",), "self_attn.q_proj.bias", "zeros")
        yield ("attention", "k_bias"), Weight((KV,), ("kv_heads",), "self_attn.k_proj.bias", "zeros", heads=keys)
        yield ("attention", "v_bias"), Weight((KV,), ("kv_heads",), "self_attn.v_proj.bias", "zeros", heads=keys)
    yield ("attention", "o"), _matrix("self_attn.o_proj", (Q, D), ("heads", "embed"), init="residual")
    if config.family.query_key_norm:
        yield ("attention", "q_norm"), _gain(config, "self_attn.q_norm", d)
        yield ("attention", "k_norm"), _gain(config, "self_attn.k_norm", d)


def _linear_attention_weights(config: ModelConfig) -> Iterator[tuple[Path, Weight]]:
    D, sizes = config.hidden_size, config.delta_rule
    C, H, K = sizes.channels, sizes.value_heads, sizes.conv_kernel
    V = H * sizes.value_dim
    keys = (sizes.key_heads, sizes.key_dim)
    parts = (keys, keys, (H, sizes.value_dim))
    yield ("linear_attention", "qkv"), _matrix("linear_attn.in_proj_qkv", (D, C), ("embed", "heads"), heads=parts)
    yield ("linear_attention", "z"), _matrix("linear_attn.in_proj_z", (D, V), ("embed", "heads"))
    yield ("linear_attention", "b"), _matrix("linear_attn.in_proj_b", (D, H), ("embed", "heads"))
    yield ("linear_attention", "a"), _matrix("linear_attn.in_proj_a", (D, H), ("embed", "heads"))
    yield ("linear_attention", "conv"), _matrix("linear_attn.conv1d", (K, 1, C), (None, None, "heads"), heads=parts)
    yield ("linear_attention", "A_log"), Weight((H,), ("heads",), "linear_attn.A_log", "decay", float32=True)
    yield ("linear_attention", "dt_bias"), Weight((H,), ("heads",), "linear_attn.dt_bias", "ones")
    # This norm's gain is plain in every family.
    gain = Weight((sizes.value_dim,), ("norm",), "linear_attn.norm.weight", "ones", float32=True)
    yield ("linear_attention", "norm"), gain
    yield ("linear_attention", "out"), _matrix("linear_attn.out_proj", (V, D), ("heads", "embed"), init="residual")


def _matrix(
    name: str,
    shape: tuple[int, ...],
    axes: tuple[str | None, ...],
    init: Init = "normal",
    heads: tuple[tuple[int, int], ...] = (),
) -> Weight:
    return Weight(shape, axes, f"{name}.weight", init, fan_in=shape[0], transpose=True, heads=heads)


def _gain(config: ModelConfig, name: str, size: int) -> Weight:
    return Weight((size,), ("norm",), f"{name}.weight", "zeros" if config.family.zero_centred_norm else "ones")


def table_tree(table: Table, leaf: Callable[[Path, Weight], Any]) -> Params:
    """The tree of a table, ``leaf(path, weight)`` in every place."""
    return unflatten_dict({path: leaf(path, weight) for path, weight in table.items()})


def _dtype(weight: Weight, dtype: Any) -> jnp.dtype:
    return jnp.dtype(weight.whole_numbers or (jnp.float32 if weight.float32 else dtype))


def abstract_params(config: ModelConfig, dtype: Any = jnp.float32, mesh: Mesh | None = None) -> Params:
    """The parameter tree as ``jax.ShapeDtypeStruct``, with shardings when a mesh is given."""
    return abstract_tree(weight_table(config), dtype, mesh)


def abstract_tree(table: Table, dtype: Any, mesh: Mesh | None = None) -> Params:
    """``abstract_params`` of any table."""

    def leaf(_, weight):
        sharding = weight_sharding(mesh, weight.axes, weight.shape) if mesh is not None else None
        return jax.ShapeDtypeStruct(weight.shape, _dtype(weight, dtype), sharding=sharding)

    return table_tree(table, leaf)


def param_shardings(config: ModelConfig, mesh: Mesh) -> Params:
    """The parameter tree as ``NamedSharding``."""
    return table_shardings(weight_table(config), mesh)


def table_shardings(table: Table, mesh: Mesh) -> Params:
    """``param_shardings`` of any table."""
    return table_tree(table, lambda _, weight: weight_sharding(mesh, weight.axes, weight.shape))


def init_params(config: ModelConfig, key: jax.Array, dtype: Any = jnp.float32, mesh: Mesh | None = None) -> Params:
    """Random parameters, each from its own key (folded from its path), made where they live when a mesh is given."""
    return _initialiser(config, jnp.dtype(dtype), mesh)(key)


@lru_cache
def _initialiser(config: ModelConfig, dtype: jnp.dtype, mesh: Mesh | None) -> Callable[[jax.Array], Params]:
    return table_initialiser(weight_table(config), dtype, mesh, config.num_layers)


def table_initialiser(
    table: Table, dtype: jnp.dtype, mesh: Mesh | None, num_layers: int
) -> Callable[[jax.Array], Params]:
    """A jitted ``key -> tree``; ``init_params`` of any table."""

    def make(key):
        def leaf(path, weight):
            own = jax.random.fold_in(key, zlib.crc32("/".join(path).encode()))
            return _init(own, weight, num_layers).astype(_dtype(weight, dtype))

        return table_tree(table, leaf)

    return jax.jit(make, out_shardings=table_shardings(table, mesh) if mesh is not None else None)


def _init(key: jax.Array, weight: Weight, num_layers: int) -> jax.Array:
    if weight.init == "zeros":
        return jnp.zeros(weight.shape)
    if weight.init == "ones":
        return jnp.ones(weight.shape)
    if weight.init == "uniform":
        return jax.random.uniform(key, weight.shape, minval=-1.0, maxval=1.0) * weight.fan_in**-0.5
    if weight.init == "decay":
        return jnp.log(jax.random.uniform(key, weight.shape, minval=1.0, maxval=16.0))
    std = {"embedding": 0.02, "normal": weight.fan_in**-0.5, "residual": (weight.fan_in * 2 * num_layers) ** -0.5}
    return std[weight.init] * jax.random.normal(key, weight.shape)
