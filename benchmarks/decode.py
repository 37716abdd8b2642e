"""How fast a checkpoint reads and writes on this machine, beside ``transformers`` and llama.cpp.

    python benchmarks/decode.py FOLDER [--tokens 32] [--contexts 1024,8192] [--rounds 5] [--chunks 64,256] [--gguf FILE]
                                       [--weights int8,nf4]

Ours and ``transformers`` do equal work: one text, float32, greedy, the same weights, all cores; their turns alternate,
so that whatever else the machine does falls on both. Speeds are of the best round; a ratio is the median over the
rounds of their time over ours, with the least and the greatest. Prompts of the shortest context are read in each of
``--chunks`` tokens at a time. llama.cpp does *not* do equal work: it computes from the quantised GGUF. ``flat`` is what
a token costs beside attention at the longest context over the same at the shortest; attention over the cache is timed
by itself, all layers in one program. Compilation is not counted. ``--weights`` are further turns of ours, with the
layers' matrices quantised; ``weights_mb`` are all weights as they are held, those of the head in float32.
Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained, unstack
from polaris_jax.ops.cached_attention import WriteIndex, partial_attention
from polaris_jax.sampling import DecodeCache, Sampler, SamplingOptions
from polaris_jax.training import load_weights

GREEDY = SamplingOptions(temperature=0.0)


class Ours:
    """One text of this project's sampler, read ``chunk`` tokens at a time."""

    def __init__(self, params, config, tokenizer, length: int, chunk: int):
        self.config = config
        self.sampler = Sampler(params, config, tokenizer, max_length=length, prefill_chunk=chunk, first_capacity=length)
        self.decode_cache = DecodeCache(self.sampler)

    def read(self, tokens: list[int]) -> None:
        self.decode_cache.rewind([0])
        self.decode_cache.append([tokens])
        jax.block_until_ready(self.decode_cache.logits)
        self.decode_cache.save()

    def write(self, count: int, options: SamplingOptions = GREEDY) -> None:
        self.decode_cache.rewind(self.decode_cache.saved_lengths)
        for _ in range(count):
            sampled = self.decode_cache.sample([options], [1])
            self.decode_cache.append([[int(sampled.token[0])]])
        jax.block_until_ready(self.decode_cache.logits)

    def attention_seconds(self, filled: int, rounds: int) -> float:
        """One token's attention over caches filled that far, in every layer that has one."""
        config, capacity = self.config, self.decode_cache.capacity
        layers = sum(kind != "linear_attention" for kind in config.layer_types)
        key = jax.random.key(0)
        # Every layer has numbers of its own, as arguments of the program: constants would be folded and never read.
        memories = [
            {
                name: jax.random.normal(
                    jax.random.fold_in(key, 2 * layer + i), (1, 1, config.num_kv_heads, capacity, config.head_dim)
                )
                for i, name in enumerate("kv")
            }
            for layer in range(layers)
        ]
        start, one = jnp.full((1,), filled, jnp.int32), jnp.ones(1, jnp.int32)

        @jax.jit
        def all_layers(q, memories):
            for memory in memories:
                state = partial_attention(q, memory, WriteIndex(0, start, one))
                q = q + 1e-9 * state.out.reshape(q.shape)
            return q

        q = jnp.ones((1, 1, config.num_heads, config.head_dim))
        return best(lambda: jax.block_until_ready(all_layers(q, memories)), rounds)


class Theirs:
    """The same text in ``transformers``."""

    def __init__(self, folder: str):
        import torch
        from transformers import AutoModelForCausalLM

        self.torch = torch
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def read(self, tokens: list[int]) -> None:
        with self.torch.no_grad():
            out = self.model(self.torch.tensor([tokens]), use_cache=True, logits_to_keep=1)
        self.cache, self.logits, self.length = out.past_key_values, out.logits, len(tokens)

    def write(self, count: int) -> None:
        if more := self.cache.get_seq_length() - self.length:
            self.cache.crop(-more)
        logits = self.logits
        with self.torch.no_grad():
            for _ in range(count):
                out = self.model(logits[:, -1:].argmax(-1), past_key_values=self.cache, use_cache=True)
                logits = out.logits


def llama_cpp(gguf: str, prompt_tokens: int, tokens: int) -> dict[str, float]:
    """Tokens per second as llama.cpp's server reports them."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.verbosity, params.n_ctx = gguf, 0, prompt_tokens + tokens + 64
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    server = xllamacpp.Server(params)
    rng = np.random.default_rng(0)
    answer = server.handle_completions(
        {
            "prompt": rng.integers(100, 10_000, prompt_tokens).tolist(),
            "temperature": 0.0,
            "n_predict": tokens,
            "ignore_eos": True,
        }
    )
    timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
    return {"prefill": timings["prompt_per_second"], "decode": timings["predicted_per_second"]}


def best(run, rounds: int) -> float:
    """Seconds of the fastest of ``rounds`` runs, after one that compiles."""
    run()
    return min(timed(run) for _ in range(rounds))


def alternating(sides: dict, rounds: int) -> dict[str, list[float]]:
    """Seconds of every side in every round, after one that compiles."""
    turns: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, run in sides.items():
            seconds = timed(run)
            if number:
                turns[name].append(seconds)
    return turns


def compared(turns: dict[str, list[float]], count: int, what: str, unit: str) -> dict:
    """``count`` things per second of each side, and how many times as fast as ``transformers`` each is."""
    row: dict = {f"{what}_{name}_{unit}": count / min(seconds) for name, seconds in turns.items()}
    for name, seconds in turns.items():
        if name != "transformers" and "transformers" in turns:
            ratios = sorted(other / own for own, other in zip(seconds, turns["transformers"], strict=True))
            row[f"{what}_{name}_times_as_fast"] = [ratios[0], statistics.median(ratios), ratios[-1]]
    return row


def timed(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="Hugging Face folder")
    parser.add_argument("--tokens", type=int, default=32, help="tokens written per round")
    parser.add_argument("--contexts", default="1024,8192", help="tokens read before writing, shortest first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--chunks", default="64,256,512", help="tokens our prefill reads at once; decoding uses the first"
    )
    parser.add_argument("--gguf", help="the same model for llama.cpp (quantised: not equal work)")
    parser.add_argument("--weights", default="", help="quantised forms that decode beside float32: int8, nf4")
    parser.add_argument("--alone", action="store_true", help="without transformers")
    args = parser.parse_args()

    contexts = [int(n) for n in args.contexts.split(",")]
    model, tokenizer = from_pretrained(args.folder, dtype="float32"), load_tokenizer(args.folder)
    params = unstack(model.params) if jax.default_backend() == "cpu" else model.params
    ours, *more = (
        Ours(params, model.config, tokenizer, max(contexts) + args.tokens + 8, int(chunk))
        for chunk in args.chunks.split(",")
    )
    theirs = None if args.alone else Theirs(args.folder)
    quantized = {}
    for held in filter(None, args.weights.split(",")):
        _, weights, _ = load_weights(args.folder, dtype="float32", held=held)
        weights = unstack(weights) if jax.default_backend() == "cpu" else weights
        chunk = ours.sampler.chunk_sizes[-1]
        quantized[f"ours_{held}"] = Ours(weights, model.config, tokenizer, max(contexts) + args.tokens + 8, chunk)
    results: dict = {"device": jax.devices()[0].device_kind, "cores": os.cpu_count(), "dtype": "float32"}
    tokens = np.random.default_rng(0).integers(100, 10_000, max(contexts)).tolist()
    held_mb = lambda side: round(sum(x.nbytes for x in jax.tree.leaves(side.sampler.params)) / 1e6, 1)  # noqa: E731
    results["weights_mb"] = {name: held_mb(side) for name, side in {"ours": ours, **quantized}.items()}
    beside = {}
    for n in contexts:
        sides = {"ours": ours, **quantized} | ({"transformers": theirs} if theirs else {})
        if n == contexts[0]:
            readers = {f"ours_{side.sampler.chunk_sizes[-1]}": side for side in (ours, *more)}
            readers |= {"transformers": theirs} if theirs else {}
            reads = {name: partial(side.read, tokens[:n]) for name, side in readers.items()}
            row = compared(alternating(reads, args.rounds), n, "prefill", "tokens_per_s")
        else:
            row = {}
        for name, side in sides.items():
            if n != contexts[0] or name in quantized:
                side.read(tokens[:n])
        turns = alternating({name: partial(side.write, args.tokens) for name, side in sides.items()}, args.rounds)
        row |= compared(turns, args.tokens, "decode", "tokens_per_s")
        for name in quantized:
            ratios = sorted(ours_s / own for own, ours_s in zip(turns[name], turns["ours"], strict=True))
            row[f"decode_{name}_times_as_fast_as_float32"] = [ratios[0], statistics.median(ratios), ratios[-1]]
        attention = ours.attention_seconds(n, args.rounds)
        beside[n] = min(turns["ours"]) / args.tokens - attention
        row["attention_ms"] = 1e3 * attention
        if n == contexts[0]:
            creative = SamplingOptions(temperature=0.8, top_k=20)
            row["decode_top_k_ms"] = 1e3 * best(partial(ours.write, args.tokens, creative), args.rounds) / args.tokens
        results[f"context_{n}"] = row
    results["flat"] = beside[contexts[-1]] / beside[contexts[0]]
    if args.gguf:
        results["llama_cpp_quantised_tokens_per_s"] = llama_cpp(args.gguf, contexts[0], args.tokens)
    print(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    main()
