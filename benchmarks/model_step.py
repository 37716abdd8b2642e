"""One forward and backward pass of a decoder, beside the same pass in PyTorch, in one run.

    python benchmarks/model_step.py FOLDER [--length 512] [--repeats 5]

FOLDER is a Hugging Face folder (for SmolLM2: ``polaris_jax.models.gguf.convert_gguf``). Loss: mean next-token
cross-entropy in float32, gradient of every parameter, one row. The two are timed in turns, so that a busy machine slows
both; the medians and their ratio are printed, with the loading time and both losses.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.models import from_pretrained, logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()

    start = time.perf_counter()
    model = from_pretrained(args.folder, dtype=jnp.float32)
    jax.block_until_ready(model.params)
    print(f"load: {time.perf_counter() - start:.1f} s")
    tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (1, args.length))
    passes = {"polaris_jax": jax_pass(model, tokens), "torch": torch_pass(args.folder, tokens)}
    seconds = {name: [] for name in passes}
    losses = {name: run() for name, run in passes.items()}  # compiles, warms caches
    for _ in range(args.repeats):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{name}: {statistics.median(times) * 1e3:.0f} ms (min {min(times) * 1e3:.0f}), loss {losses[name]:.5f}")
    ours, theirs = (statistics.median(seconds[name]) for name in passes)
    print(f"ratio polaris_jax / torch: {ours / theirs:.2f}")


def jax_pass(model, tokens):
    def loss(params, ids):
        log_p = jax.nn.log_softmax(logits(params, model.config, ids)[:, :-1])
        return -jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1).mean()

    step, params, ids = jax.jit(jax.value_and_grad(loss)), model.params, jnp.asarray(tokens, jnp.int32)
    return lambda: float(jax.block_until_ready(step(params, ids))[0])


def torch_pass(folder, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.from_numpy(tokens).long()

    def run():
        model.zero_grad(set_to_none=True)
        scores = model(ids, use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(scores.float(), ids[0, 1:])
        loss.backward()
        return loss.item()

    return run


if __name__ == "__main__":
    main()
