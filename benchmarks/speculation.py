"""What guessing tokens from the text itself saves (``--speculate``), on transcripts of real novels.

    python benchmarks/speculation.py FOLDER --novels NOVEL.txt ... [--guesses 3,7] [--rounds 3] [--kind mini]

Plans are made by the offline annotator, the prose is the novel's, the tokenizer that of FOLDER. *Tokens per pass*: each
stage is read as if the model had drawn just these tokens, one after the other, and the correct guesses are
counted; 1 means that none was correct. Every token counts as drawn, also headings that a grammar would force anyway.
*Speed*: the same along one transcript of each novel with FOLDER's weights, pass by pass and sample by sample, with and
without guesses; rounds alternate, and the medians of their ratios are printed. Compilation is not counted.
Prints one JSON object.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np

from polaris_jax.data import Tokenizer, load_tokenizer
from polaris_jax.library import read_novel
from polaris_jax.models import from_pretrained, unstack
from polaris_jax.sampling import DecodeCache, Sampler, SamplingOptions
from polaris_jax.sampling.read_ahead import ReadAhead
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books, mini_profile
from polaris_jax.trajectory import render, split_stages

Stages = list[tuple[str, list[int], list[int]]]  # role, tokens of the header, tokens of the text


def stages_of(transcript: str, tokenizer: Tokenizer) -> Stages:
    """The stages of a transcript as tokens; the end token belongs to the text."""
    found = []
    for stage in split_stages(transcript):
        head, text = transcript[stage.start : stage.text_start], transcript[stage.text_start : stage.end]
        found.append((stage.role, tokenizer.encode(head).tolist(), tokenizer.encode(text).tolist()))
    return found


def count_passes(stages: Stages, guesses: int) -> dict[str, list[int]]:
    """``[tokens, passes]`` per role when as many tokens are guessed as ``guesses`` says; the prompt is only read."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    ahead, room = ReadAhead(1, guesses + 1), [1 << 30]
    for role, head, text in stages:
        ahead.lookup.extend(0, head)
        if role == "prompt":
            ahead.lookup.extend(0, text)
            continue
        at = 0
        while at < len(text):
            ahead.guess([[text[at]]], room)  # the token drawn last, and what may follow it
            ahead.lookup.extend(0, text[at : at + 1])
            at += 1
            counts[role][1] += 1
            while at < len(text) and ahead.holds(0, text[at : at + 1]):
                ahead.take([text[at : at + 1]])
                ahead.lookup.extend(0, text[at : at + 1])
                at += 1
        counts[role][0] += len(text)
    return counts


def seconds_along(sampler: Sampler, stages: Stages, options: SamplingOptions) -> dict[str, list[float]]:
    """``[tokens, seconds]`` per role for drawing every token of the text, the drawn one replaced by the text's own."""
    cache, spent = DecodeCache(sampler), defaultdict(lambda: [0.0, 0.0])
    for role, head, text in stages:
        cache.append([head if role != "prompt" else [*head, *text]])
        if role == "prompt":
            continue
        jax.block_until_ready(cache.logits)
        started = time.perf_counter()
        for token in text:
            cache.sample([options], [0])
            cache.append_generated([[token]])
        jax.block_until_ready(cache.logits)
        spent[role][0] += len(text)
        spent[role][1] += time.perf_counter() - started
    return spent


def speed(folder: str, transcripts: list[Stages], guesses: list[int], rounds: int, most: int) -> dict:
    """Tokens per second without guesses, and how many times that with each number of them; medians over all rounds."""
    model, tokenizer = from_pretrained(folder, dtype="float32"), load_tokenizer(folder)
    params = unstack(model.params) if jax.default_backend() == "cpu" else model.params
    longest = max(sum(len(head) + len(text) for _, head, text in stages) for stages in transcripts) + 16
    sides = {
        n: Sampler(
            params,
            model.config,
            tokenizer,
            max_length=longest,
            prefill_chunk=64,
            first_capacity=longest,
            speculate=n,
        )
        for n in (0, *guesses)
    }
    options = SamplingOptions(temperature=0.8, top_k=20)
    warm: Stages = [("prompt", [], [1, 2, 3]), ("warm", [5, 6], [7, 7, 7, 7, 7, 7])]
    for sampler in sides.values():
        seconds_along(sampler, warm, options)
    rates: dict[str, list[float]] = defaultdict(list)
    ratios: dict[int, dict[str, list[float]]] = {n: defaultdict(list) for n in guesses}
    for stages in transcripts:
        part = shortened(stages, most)
        for _ in range(rounds):
            turns = {n: seconds_along(sampler, part, options) for n, sampler in sides.items()}
            for role, (tokens, seconds) in turns[0].items():
                rates[role].append(tokens / seconds)
                for n in guesses:
                    ratios[n][role].append(seconds / turns[n][role][1])
            totals = {n: sum(seconds for _, seconds in turn.values()) for n, turn in turns.items()}
            for n in guesses:
                ratios[n]["all"].append(totals[0] / totals[n])
            print({n: round(seconds, 1) for n, seconds in totals.items()}, file=sys.stderr, flush=True)
    return {
        "tokens_per_s_without": {role: statistics.median(values) for role, values in rates.items()},
        "times_as_fast": {
            n: {role: [min(v), statistics.median(v), max(v)] for role, v in by_role.items()}
            for n, by_role in ratios.items()
        },
    }


def shortened(stages: Stages, most: int) -> Stages:
    """At most ``most`` tokens of each stage's text; the next stage then follows the shortened one."""
    return [(role, head, text if role == "prompt" else text[:most]) for role, head, text in stages]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="Hugging Face folder with the stage tokens")
    parser.add_argument("--novels", nargs="+", type=Path, required=True)
    parser.add_argument("--guesses", default="3,7", help="numbers of guesses to try")
    parser.add_argument("--kind", choices=("mini", "full"), default="mini", help="small volumes, or whole novels")
    parser.add_argument("--budget", type=int, default=8192, help="tokens of a small volume")
    parser.add_argument("--volumes", type=int, default=2, help="of each novel, with --kind=mini")
    parser.add_argument("--rounds", type=int, default=0, help="of the speed; 0: only count")
    parser.add_argument("--stage-tokens", type=int, default=96, help="of each stage that are timed")
    args = parser.parse_args()

    tokenizer, guesses = load_tokenizer(args.folder), [int(n) for n in args.guesses.split(",")]
    profile = FULL if args.kind == "full" else mini_profile(args.budget, lambda text: len(tokenizer.encode(text)))
    transcripts: list[Stages] = []
    counted: dict[int, dict[str, np.ndarray]] = {n: defaultdict(lambda: np.zeros(2, np.int64)) for n in guesses}
    shares: dict[int, list[float]] = {n: [] for n in guesses}
    for path in args.novels:
        books = build_books(read_novel(path), OfflineAnnotator(), profile)
        for book in books[:: max(1, len(books) // args.volumes)][: args.volumes]:
            transcripts.append(stages_of(render(book), tokenizer))
            for n in guesses:
                counts = count_passes(transcripts[-1], n)
                for role, pair in counts.items():
                    counted[n][role] += pair
                tokens, passes = (sum(pair[i] for pair in counts.values()) for i in range(2))
                shares[n].append(tokens / passes)
            print(f"{path.stem}: {[round(shares[n][-1], 3) for n in guesses]}", file=sys.stderr, flush=True)
    results: dict = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "transcripts": len(transcripts),
        "tokens": {role: int(pair[0]) for role, pair in counted[guesses[0]].items()},
        "tokens_per_pass": {
            n: {
                **{role: float(pair[0] / pair[1]) for role, pair in by_role.items()},
                "all": float(np.divide(*sum(by_role.values()))),
                "least_and_most_of_a_transcript": [min(shares[n]), max(shares[n])],
            }
            for n, by_role in counted.items()
        },
    }
    if args.rounds:
        results["speed"] = speed(args.folder, transcripts, guesses, args.rounds, args.stage_tokens)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
