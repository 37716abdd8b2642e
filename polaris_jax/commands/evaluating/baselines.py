"""``polaris evaluate baselines``: stories by prompting methods, at equal length, for the benchmarks to judge."""

import argparse

from polaris_jax import storage
from polaris_jax.commands import client_flags
from polaris_jax.commands.flag_types import folder_to_write
from polaris_jax.errors import InputError

HELP = {"baselines": "stories by direct prompting, Plan-and-Write, Re3, DOC and a dynamic outline with memory"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the methods and of the model they prompt."""
    parser.add_argument("--prompts", required=True, metavar="FILE_OR_SET", help="prompts for the stories")
    parser.add_argument(
        "--out",
        type=folder_to_write,
        required=True,
        metavar="DIR",
        help="local or gs://; the same command continues there",
    )
    parser.add_argument("--methods", default="direct,plan-and-write,re3,doc,dynamic-outline", help="commas between")
    parser.add_argument("--words", type=int, default=0, help="length of every story (default: its prompt's)")
    parser.add_argument("--provider", default="openai", help="openai (any compatible server) | gemini | replay")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=4, help="stories written at the same time")
    client_flags.add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Writes the missing stories; returns 0, or 1 when a story failed or the budget was spent."""
    import sys

    from polaris_jax.evals import read_prompts
    from polaris_jax.llm import BudgetSpent, open_client
    from polaris_jax.studies.baselines import write_baselines

    out = arguments.out.rstrip("/")
    if not arguments.model:
        raise InputError("--model", arguments.model, "say which model writes")
    prompts, bad = read_prompts(arguments.prompts)
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    spec = client_flags.client_spec(arguments.provider, vars(arguments), storage.join(out, "replies"))
    file = storage.join(out, "generations.jsonl")
    with open_client(spec) as client:
        try:
            rows = write_baselines(
                client,
                prompts,
                arguments.methods.split(","),
                file,
                words=arguments.words,
                temperature=arguments.temperature,
                seed=arguments.seed,
                workers=arguments.workers,
                on_story=lambda row: print(
                    f"{row['method']:16} {row['id']}: {row['words']} words, {row['calls']} calls"
                    + (f", failed: {row['error']}" if "error" in row else ""),
                    file=sys.stderr,
                ),
            )
        except BudgetSpent as spent:
            print(f"stopped early: {spent}", file=sys.stderr)
            return 1
    print(file)
    return int(any("error" in row for row in rows))
