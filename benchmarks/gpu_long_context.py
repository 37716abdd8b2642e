"""Attention and one training pass at long context on a GPU, as shares of its measured matmul peak.

    python benchmarks/gpu_long_context.py [--lengths 8192 32768 131072] [--window 32768] [--out FILE]
    python benchmarks/gpu_long_context.py --smoke          # the same code, small, on any backend

Needs no file and no network: weights and tokens are random. Three parts, all bfloat16, medians of ``--repeats``:

- peak: the best rate of square matmuls, which every share below refers to.
- attention: causal, 16 query heads on 4 kv heads of 128; forward, and forward with backward, by the portable backend
  (``ops.blockwise``) and by PyTorch's scaled-dot-product attention if PyTorch sees the same GPU. A causal score counts
  once: 4 FLOP per visible score and channel forward, 10 more backward.
- step: forward and backward of a 1.2B-parameter Llama over one row of ``--window`` tokens, every layer recomputed from
  its input but for the attention; the same in ``transformers`` with gradient checkpointing. FLOPs: ``models.describe``
  for both.

A failure (memory, a missing library) is a line of the results and does not end the run. Prints JSON, also to ``--out``.
"""

import argparse
import json
import math
import os
import statistics
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs memory of the same GPU

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.models import ModelConfig, describe, head_kernel, hidden, init_params
from polaris_jax.ops import linear_cross_entropy
from polaris_jax.ops.blockwise import blockwise_attention

LLAMA = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 32_768,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": True,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 256,
}


def median_seconds(run, repeats: int) -> float:
    """The median of ``repeats`` calls after one that compiles; ``run`` returns when the device is done."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_flops(sizes: list[int], repeats: int) -> float:
    """FLOP/s of the fastest square bfloat16 matmul; ten in one program, so that starting it does not count."""
    rates = []
    for n in sizes:
        x = jax.random.normal(jax.random.key(0), (n, n), jnp.bfloat16)
        chain = jax.jit(lambda x: jax.lax.fori_loop(0, 10, lambda _, y: (x @ y * 0.01).astype(x.dtype), x))
        rates.append(10 * 2 * n**3 / median_seconds(lambda c=chain, x=x: jax.block_until_ready(c(x)), repeats))
    return max(rates)


def attention_flops(length: int, heads: int, width: int, backward: bool) -> float:
    """FLOPs of causal attention over one row."""
    return (14 if backward else 4) * length * (length + 1) / 2 * heads * width


def our_attention(length: int, heads: int, kv_heads: int, width: int, block: int, backward: bool):
    """One row through the portable backend."""
    keys = jax.random.split(jax.random.key(0), 3)
    q, k, v = (
        jax.random.normal(key, (1, length, n, width), jnp.bfloat16)
        for key, n in zip(keys, (heads, kv_heads, kv_heads), strict=True)
    )
    positions, ones = jnp.arange(length, dtype=jnp.int32)[None], jnp.ones((1, length), jnp.int32)

    def attend(q, k, v):
        return blockwise_attention(
            q, k, v, q_positions=positions, kv_positions=positions, q_segments=ones, kv_segments=ones, block=block
        )

    if backward:
        run = jax.jit(jax.grad(lambda *args: attend(*args).astype(jnp.float32).sum(), (0, 1, 2)))
    else:
        run = jax.jit(attend)
    return lambda: jax.block_until_ready(run(q, k, v))


def torch_attention(length: int, heads: int, kv_heads: int, width: int, backward: bool, device: str):
    """The same in PyTorch, which picks FlashAttention or cuDNN."""
    import torch

    def make(n):
        return torch.randn(1, n, length, width, dtype=torch.bfloat16, device=device, requires_grad=backward)

    q, k, v = make(heads), make(kv_heads), make(kv_heads)

    def run():
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if backward:
            torch.autograd.grad(out.float().sum(), (q, k, v))
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def our_step(shape: dict, window: int, block: int):
    """Loss and every gradient of one row."""
    config = ModelConfig.from_hf(shape)
    params = init_params(config, jax.random.key(0), jnp.bfloat16)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, config.vocab_size, (1, window)), jnp.int32)

    def loss(params):
        def attend(*args, **kwargs):
            return blockwise_attention(*args, **kwargs, block=block)

        x = hidden(params, config, tokens, attend=attend, remat="attention")
        nll, _ = linear_cross_entropy(x, head_kernel(params, config), jnp.roll(tokens, -1, axis=1), chunk=4096)
        return nll[:, :-1].mean()

    step = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(step(params))


def torch_step(shape: dict, window: int, device: str):
    """The same with ``transformers``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    options = {name: value for name, value in shape.items() if name not in ("model_type", "rope_theta")}
    config = LlamaConfig(
        **options,
        rope_parameters={"rope_type": "default", "rope_theta": shape["rope_theta"]},
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).to(device=device, dtype=torch.bfloat16).train()
    model.gradient_checkpointing_enable()
    tokens = torch.randint(0, config.vocab_size, (1, window), device=device)

    def run():
        model.zero_grad(set_to_none=True)
        model(tokens, labels=tokens, use_cache=False).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def measured(make, flops: float, peak: float, repeats: int, tokens: int = 0) -> dict:
    """A row of the results, or why there is none."""
    try:
        seconds = median_seconds(make(), repeats)
    except Exception as error:  # out of memory and missing libraries raise many types
        return {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"}
    row = {"ms": 1e3 * seconds, "tflops": flops / seconds / 1e12, "share_of_peak": flops / seconds / peak}
    return row | ({"tokens_per_s": tokens / seconds} if tokens else {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[8192, 32_768, 131_072])
    parser.add_argument("--window", type=int, default=32_768, help="tokens of the training pass")
    parser.add_argument("--block", type=int, default=1024, help="edge of a tile of the portable backend")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="small shapes, to see that it runs")
    parser.add_argument("--out", help="file for the JSON")
    args = parser.parse_args()
    heads, kv_heads, width, sizes, shape = 16, 4, 128, [4096, 8192], dict(LLAMA)
    if args.smoke:
        args.lengths, args.window, args.block, args.repeats = [256, 512], 256, 128, 1
        heads, kv_heads, width, sizes, shape = 4, 2, 16, [256], LLAMA | SMALL
    torch_device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    peak = peak_flops(sizes, args.repeats)
    results: dict = {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "matmul_peak_tflops": peak / 1e12}
    for length in args.lengths:
        for backward in (False, True):
            flops = attention_flops(length, heads, width, backward)
            rows = {
                "polaris_jax": measured(
                    lambda n=length, b=backward: our_attention(n, heads, kv_heads, width, args.block, b),
                    flops,
                    peak,
                    args.repeats,
                ),
                "torch": measured(
                    lambda n=length, b=backward: torch_attention(n, heads, kv_heads, width, b, torch_device),
                    flops,
                    peak,
                    args.repeats,
                ),
            }
            name = f"attention_{length}_{'forward_backward' if backward else 'forward'}"
            results[name] = rows | speed_ratio(rows)
    flops = 3 * describe(ModelConfig.from_hf(shape)).flops_per_token(args.window).total * args.window
    rows = {
        "polaris_jax": measured(
            lambda: our_step(shape, args.window, args.block), flops, peak, args.repeats, args.window
        ),
        "torch": measured(lambda: torch_step(shape, args.window, torch_device), flops, peak, args.repeats, args.window),
    }
    results[f"step_{args.window}"] = rows | speed_ratio(rows)
    text = json.dumps(results, indent=1)
    print(text)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")


def speed_ratio(rows: dict) -> dict[str, float]:
    """Ours over theirs in speed, where both ran."""
    times = [rows[name].get("ms", math.nan) for name in ("torch", "polaris_jax")]
    return {} if any(map(math.isnan, times)) else {"speed_ratio": times[0] / times[1]}


if __name__ == "__main__":
    main()
