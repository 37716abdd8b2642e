"""``polaris evaluate memorisation``: does a checkpoint repeat its training stories verbatim?"""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from polaris_jax import storage
from polaris_jax.commands import client_flags
from polaris_jax.commands.evaluating.story_flags import add_out_flag, split_name, write_report
from polaris_jax.commands.sampler_flags import add_sampler_flags, dtypes_of, sampler_options
from polaris_jax.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

HELP = {"memorisation": "greedy continuations of training stories: common prefix and longest common run of tokens"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the audit."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        required=True,
        metavar="[NAME=]DIR",
        help="training run or Hugging Face folder; may be repeated",
    )
    parser.add_argument(
        "--rows", required=True, metavar="FILE", help="JSONL of training rows: prompt, story, ground_truth_reasoning"
    )
    add_out_flag(parser)
    parser.add_argument("--modes", default="gold_thinking,prompt_only", help="which attacks")
    parser.add_argument("--prefixes", default="50,100,200", help="numbers of story tokens given, with gold_thinking")
    parser.add_argument("--continuation", type=int, default=512, help="most new tokens")
    parser.add_argument("--sample", type=int, default=100, help="number of rows, sampled at random")
    parser.add_argument("--seed", type=int, default=3479, help="seed of that sample")
    parser.add_argument("--slots", type=int, default=4, help="continuations written at the same time")
    parser.add_argument("--window", type=int, default=8192, help="longest text in tokens")
    parser.add_argument(
        "--no-template", action="store_true", help="for a model without a chat template: it continues the prompt"
    )
    parser.add_argument(
        "--as-released",
        action="store_true",
        help="as in the published audit: a second opening tag, and open thinking is compared too",
    )
    parser.add_argument("--json", action="store_true", help="print the audit as JSON")
    add_sampler_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Makes the attacks; returns 0."""
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.commands.evaluating.writing import greedy, open_checkpoint
    from polaris_jax.studies.memorisation import audit_document, read_audit_rows, run_audit, sample_rows

    out, placement = arguments.out.rstrip("/"), sampler_options(arguments)
    given = client_flags.numbers("--prefixes", arguments.prefixes, ",", "whole numbers such as 50,100,200")
    prefixes = [int(number) for number in given]
    if arguments.continuation < 1 or min(prefixes) < 1:
        raise InputError("--continuation", arguments.continuation, "and every prefix must be at least one token")
    rows, bad = read_audit_rows(arguments.rows)
    for line in bad:
        print(f"left out {line}", file=sys.stderr)
    rows = sample_rows(rows, arguments.sample, arguments.seed)
    records = {}
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for text in arguments.checkpoint:
            name, folder = split_name(text)
            name = name or storage.name_of(folder)
            identity = " ".join([folder, *dtypes_of(placement)])
            opened = open_checkpoint(folder, arguments.window, not arguments.no_template, placement)
            task = bar.add_task(name, total=None)
            records[name] = run_audit(
                rows,
                opened.sampler.tokenizer,
                greedy(opened, arguments.slots),
                storage.join(out, f"attacks-{name}.jsonl"),
                render=opened.render,
                identity=identity,
                modes=arguments.modes.split(","),
                prefixes=prefixes,
                continuation=arguments.continuation,
                batch=arguments.slots,
                as_released=arguments.as_released,
                progress=_progress(bar, task),
            )
    facts = {
        "rows": f"{len(rows)} of {arguments.rows}",
        "continuation": f"{arguments.continuation} tokens, greedy",
        "as released": arguments.as_released,
    } | ({"lines left out": len(bad)} if bad else {})
    return write_report(arguments, audit_document(records, facts), out)


def _progress(bar: "Progress", task: "TaskID") -> Callable[[int, int], None]:
    return lambda done, total: bar.update(task, completed=done, total=total)
