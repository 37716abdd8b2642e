"""What the grammar costs per token, and what its forced tokens save.

    python benchmarks/constraint_cost.py FOLDER [--tokens 32] [--rounds 12]

Three numbers from one engine and one text at a time, in short alternating turns: the plan stage without its grammar;
with the grammar, every token drawn (only its masks differ: the ratio is what the constraint costs); and with the
grammar as it is used, forced tokens read without being drawn. Ratios are taken within a round, medians over rounds:
whatever else the machine does falls on all three. Compilation is not counted. Prints one JSON object.
"""

import argparse
import json
import statistics
import time

import jax

from polaris_jax.data import load_tokenizer
from polaris_jax.models import from_pretrained, unstack
from polaris_jax.sampling import Constraint, Engine, GenerationRequest, Sampler, SamplingOptions
from polaris_jax.trajectory import stages


class Drawn(Constraint):
    """A constraint that also lets the model draw forced tokens; counts the host's time for masks."""

    seconds: list[float]

    def forced(self) -> list[int]:
        return []

    def mask(self):
        started = time.perf_counter()
        mask = super().mask()
        self.seconds.append(time.perf_counter() - started)
        return mask


def quartiles(values: list[float]) -> list[float]:
    """The middle half of ``values``."""
    first, _, third = statistics.quantiles(values, n=4)
    return [first, third]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="Hugging Face folder")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--stage", default="book_plan")
    args = parser.parse_args()

    model, tokenizer = from_pretrained(args.folder, dtype="float32"), load_tokenizer(args.folder)
    params = unstack(model.params) if jax.default_backend() == "cpu" else model.params
    sampler = Sampler(params, model.config, tokenizer, max_length=2048, prefill_chunk=64, first_capacity=2048)
    engine = Engine(sampler, 1)
    prompt = tokenizer.encode("The plan of a book about a lighthouse keeper.\n").tolist()
    options = SamplingOptions(temperature=0.45)
    grammar = stages.element(args.stage)
    started = time.perf_counter()
    vocabulary = engine.vocabulary
    results: dict[str, float] = {"vocabulary_s": time.perf_counter() - started}
    started = time.perf_counter()
    Constraint(grammar, vocabulary)
    results["grammar_s"] = time.perf_counter() - started
    masks: list[float] = []

    def drawn_constraint() -> Drawn:
        constraint = Drawn(grammar, vocabulary)
        constraint.seconds = masks
        return constraint

    def write(make) -> tuple[float, float]:
        """Seconds per token, and the share of forced tokens."""
        request = GenerationRequest(
            prompt, options, seed=1, max_tokens=args.tokens, ignore_eos=True, constraint=make and make()
        )
        started = time.perf_counter()
        completion = engine.generate([request])[0]
        return (time.perf_counter() - started) / len(completion.tokens), float(completion.forced.mean())

    ways = {"free": None, "drawn": drawn_constraint, "forced": lambda: Constraint(grammar, vocabulary)}
    turns: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(args.rounds + 1):  # the first one compiles
        for name, make in ways.items():
            seconds, share = write(make)
            if round_number:
                turns[name].append(seconds)
            results[f"{name}_forced_share"] = share
    results |= {f"{name}_ms_per_token": 1e3 * statistics.median(seconds) for name, seconds in turns.items()}
    costs = sorted(drawn / free - 1 for drawn, free in zip(turns["drawn"], turns["free"], strict=True))
    speeds = sorted(free / forced for forced, free in zip(turns["forced"], turns["free"], strict=True))
    results["constraint_cost"], results["constraint_cost_quartiles"] = statistics.median(costs), quartiles(costs)
    results["speed_with_forced_tokens"], results["speed_quartiles"] = statistics.median(speeds), quartiles(speeds)
    results["mask_median_us"], results["mask_max_us"] = 1e6 * statistics.median(masks), 1e6 * max(masks)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
