"""Which attention kernels that come with JAX can be lowered for CUDA on this machine, without a GPU.

    python benchmarks/gpu_attention_lowering.py

Candidates for an attention backend on GPU: Pallas on Triton, cuDNN through ``jax.nn``, FlashAttention 3 on Mosaic GPU;
forward and backward over 2,048 tokens of 8 query heads, 128 wide, bfloat16. One JSON line each: the custom calls it is
made of, or why it is not.
"""

import json
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import export

TOKENS, HEADS, KV_HEADS, WIDTH = 2048, 8, 2, 128
CALLS = ("__gpu$xla.gpu.triton", "mosaic_gpu_v2", "mosaic_gpu")


def array(heads: int) -> jax.ShapeDtypeStruct:
    """``[1, tokens, heads, width] bfloat16``."""
    return jax.ShapeDtypeStruct((1, TOKENS, heads, WIDTH), jnp.bfloat16)


def gradient(function: Callable) -> Callable:
    """The gradient of the sum of the outputs in all three inputs."""
    return jax.grad(lambda q, k, v: function(q, k, v).astype(jnp.float32).sum(), argnums=(0, 1, 2))


def triton(q, k, v):
    """Needs as many key heads as query heads."""
    from jax.experimental.pallas.ops.gpu import attention

    return attention.mha(q, k, v, segment_ids=None, causal=True)


def cudnn(q, k, v):
    """Takes grouped heads."""
    return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation="cudnn")


def flash_3(q, k, v):
    """For Hopper; forward alone."""
    from jax.experimental.pallas.ops.gpu import attention_mgpu

    return attention_mgpu.attention(
        q, k, v, attention_mgpu.TuningConfig(block_q=64, block_kv=64, max_concurrent_steps=2)
    )


CASES = (
    ("pallas triton, forward", triton, (HEADS, HEADS, HEADS)),
    ("pallas triton, backward", gradient(triton), (HEADS, HEADS, HEADS)),
    ("cudnn, forward", cudnn, (HEADS, KV_HEADS, KV_HEADS)),
    ("cudnn, backward", gradient(cudnn), (HEADS, KV_HEADS, KV_HEADS)),
    ("mosaic gpu flash attention 3, forward", flash_3, (4, 4, 4)),
)


def main() -> None:
    """Lowers every case."""
    checks = [export.DisabledSafetyCheck.custom_call(name) for name in CALLS]
    for name, function, heads in CASES:
        try:
            lowered = export.export(jax.jit(function), platforms=["cuda"], disabled_checks=checks)(*map(array, heads))
            calls = sorted(set(re.findall(r"custom_call @([\w.$]+)", lowered.mlir_module())))
            row = {"case": name, "lowers": True, "custom_calls": calls}
        except Exception as error:  # whatever a kernel does not support
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            row = {"case": name, "lowers": False, "why": why}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
