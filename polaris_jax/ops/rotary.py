"""Rotary position embeddings (Su et al. 2021): plain, Llama 3 frequency scaling, YaRN, and partial rotation.

All use the half-split layout of the released Hugging Face weights: rotary dim ``i`` turns together with ``i + r/2``.
Frequencies are computed once in float64 on the host; angles, cosines and sines are float32, because a bfloat16
angle is wrong after a few hundred positions.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Rope:
    """One rotary embedding; which fields matter depends on ``kind``.

    Attributes:
      theta: base of the geometric frequency series.
      dim: rotary dims ``r`` per head (even); fewer than the head's width means the rest is not rotated.
      kind: ``default``, ``llama3`` (Llama 3.1 frequency bands) or ``yarn`` (Peng et al. 2023, section 3).
      factor: context extension factor ``s``; original_length: the context length ``L0`` before extension.
      low_freq_factor, high_freq_factor: llama3's band limits, in turns per ``L0`` tokens.
      beta_fast, beta_slow: YaRN's ramp limits, in turns per ``L0`` tokens; truncate: round the ramp to whole dims.
      attention_factor: YaRN's gain on cosine and sine; None derives it from ``mscale`` and ``mscale_all_dim``, its
        numerator and denominator (0 = not given).
    """

    theta: float
    dim: int
    kind: Literal["default", "llama3", "yarn"] = "default"
    factor: float = 1.0
    original_length: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention_factor: float | None = None
    mscale: float = 0.0
    mscale_all_dim: float = 0.0

    @property
    def gain(self) -> float:
        """What multiplies cosine and sine: 1 for every kind but YaRN."""
        if self.kind != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._yarn_gain(self.mscale) / self._yarn_gain(self.mscale_all_dim)
        return self._yarn_gain(1.0)

    def _yarn_gain(self, mscale: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1.0


def frequencies(rope: Rope) -> np.ndarray:
    """Radians per position, ``[r/2] float64``."""
    plain = rope.theta ** (-np.arange(0, rope.dim, 2, dtype=np.float64) / rope.dim)
    if rope.kind == "llama3":
        turns = rope.original_length * plain / (2 * math.pi)
        keep = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        keep = np.clip(keep, 0.0, 1.0)
    elif rope.kind == "yarn":
        keep = 1.0 - _yarn_ramp(rope)
    else:
        return plain
    # Fast dims keep their frequency, slow ones are interpolated, those between are blended.
    return keep * plain + (1.0 - keep) * plain / rope.factor


def _yarn_ramp(rope: Rope) -> np.ndarray:
    def dim_turning(turns: float) -> float:
        return rope.dim * math.log(rope.original_length / (2 * math.pi * turns)) / (2 * math.log(rope.theta))

    low, high = dim_turning(rope.beta_fast), dim_turning(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.dim - 1)
    if low == high:
        high += 0.001
    return np.clip((np.arange(rope.dim // 2) - low) / (high - low), 0.0, 1.0)


def rotation(rope: Rope, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine for ``positions [B, S] int32`` (inside the document): two ``[B, S, 1, r/2] float32``."""
    angle = positions[..., None, None].astype(jnp.float32) * jnp.asarray(frequencies(rope), jnp.float32)
    return jnp.cos(angle) * rope.gain, jnp.sin(angle) * rope.gain


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotates the first ``r`` dims of every head: ``x [B, S, H, D]`` → same shape and dtype."""
    by = rotate_by_halves if 2 * cos.shape[-1] == x.shape[-1] else rotate_by_product
    return by(x, cos.astype(x.dtype), sin.astype(x.dtype))


def rotate_by_halves(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """``rotate`` as it is defined, for angles in the dtype of ``x``."""
    half = cos.shape[-1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def rotate_by_product(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """``rotate_by_halves`` without slices: a product with a signed permutation, which is exact, exchanges the halves.

    A TPU's registers are 128 dims wide, and slices at other dims make it copy whole arrays to a new layout. Where 64 of
    256 dims turn, that was 7 % of an attention block's cycles on v6e. Where all of 128 turn, slices cost less on v5p.
    """
    half, width = cos.shape[-1], x.shape[-1]
    dims, swap = np.arange(half), np.zeros((width, width), np.float32)
    swap[dims + half, dims], swap[dims, dims + half] = -1, 1
    exact = jax.lax.Precision.DEFAULT if x.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST
    swapped = jnp.matmul(x, jnp.asarray(swap, x.dtype), precision=exact)
    rest = [(0, 0)] * (cos.ndim - 1) + [(0, width - 2 * half)]
    cos = jnp.pad(jnp.concatenate([cos, cos], axis=-1), rest, constant_values=1)
    sin = jnp.pad(jnp.concatenate([sin, sin], axis=-1), rest)
    return x * cos + swapped * sin
