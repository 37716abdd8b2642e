"""How fast a checkpoint reads and writes: prefill and decode tokens per second, and what the grammar costs.

    python benchmarks/decode.py CHECKPOINT_FOLDER [--context 1024] [--tokens 64] [--dtype float32]

Prints one JSON object. Compilation is not counted; every number is the median of three repetitions.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained
from polaris_jax.sampling.constraint import Constraint, grammar_tokenizer
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.trajectory import stages

REPEATS = 3


def median_seconds(run) -> float:
    """Median wall time of ``run()`` after one call that compiles."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--context", type=int, default=1024, help="tokens read before writing")
    parser.add_argument("--tokens", type=int, default=64, help="tokens written")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()

    model, tokenizer = from_pretrained(args.checkpoint, dtype=args.dtype), load_tokenizer(args.checkpoint)
    sampler = Sampler(model.params, model.config, tokenizer, max_length=args.context + args.tokens + 8)
    session = sampler.start()
    prompt = np.random.default_rng(0).integers(0, 10_000, args.context).tolist()
    options = SamplingOptions(temperature=0.8, top_k=20)
    results: dict[str, float | str] = {"device": jax.devices()[0].device_kind, "checkpoint": args.checkpoint}

    def prefill():
        session.rewind([0])
        session.append([prompt])
        jax.block_until_ready(session.logits)

    results["prefill_tokens_per_s"] = args.context / median_seconds(prefill)
    session.mark()

    def decode(chosen, masks=None):
        session.rewind([args.context])
        for i in range(args.tokens):
            drawn = session.draw([chosen], [1], None if masks is None else masks(i))
            session.append([[int(drawn.token[0])]])
        jax.block_until_ready(session.logits)

    for name, chosen in (("greedy", SamplingOptions(temperature=0.0)), ("top_k", options)):
        results[f"decode_{name}_tokens_per_s"] = args.tokens / median_seconds(lambda chosen=chosen: decode(chosen))

    started = time.perf_counter()
    vocabulary = grammar_tokenizer(tokenizer)
    results["grammar_tokenizer_s"] = time.perf_counter() - started
    started = time.perf_counter()
    Constraint(stages.element("book_plan"), vocabulary)
    results["book_plan_grammar_s"] = time.perf_counter() - started

    mask_seconds: list[float] = []
    forced_tokens = 0

    def decode_constrained():
        nonlocal forced_tokens
        session.rewind([args.context])
        constraint, written = Constraint(stages.element("book_plan"), vocabulary), 0
        mask_seconds.clear()
        forced_tokens, new = 0, []
        while written < args.tokens:
            forced = constraint.forced()
            constraint.consume(forced)
            session.append([new + forced])
            started = time.perf_counter()
            mask = constraint.mask()
            mask_seconds.append(time.perf_counter() - started)
            new = [int(session.draw([options], [1], mask).token[0])]
            constraint.consume(new)
            forced_tokens += len(forced)
            written += 1 + len(forced)
        jax.block_until_ready(session.logits)

    results["decode_grammar_tokens_per_s"] = args.tokens / median_seconds(decode_constrained)
    results["mask_median_us"] = 1e6 * statistics.median(mask_seconds)
    results["mask_max_us"] = 1e6 * max(mask_seconds)
    results["forced_share"] = forced_tokens / args.tokens
    print(json.dumps({name: round(v, 3) if isinstance(v, float) else v for name, v in results.items()}, indent=2))


if __name__ == "__main__":
    main()
