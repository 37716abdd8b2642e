"""``polaris evaluate BENCH`` for the benchmarks over single stories (``evals.BENCHES``)."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from polaris_jax import storage
from polaris_jax.commands.evaluating.judge_flags import (
    add_estimate_flag,
    add_judge_flags,
    batch,
    close_judges,
    open_judges,
    print_estimate,
    usage_keeper,
)
from polaris_jax.commands.evaluating.story_flags import (
    add_story_flags,
    gather_stories,
    planned_stories,
    prompt_facts,
    write_report,
)

if TYPE_CHECKING:
    from polaris_jax.evals import BenchResult, Tournament


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a benchmark over single stories."""
    from polaris_jax.evals.benches import BENCHES

    add_story_flags(parser, BENCHES[parser.prog.split()[-1]].prompt_set)
    add_judge_flags(parser)
    add_estimate_flag(parser)
    parser.add_argument(
        "--rubric",
        metavar="full|brief|FILE",
        default="full",
        help="the judge's prompt: ours (full; brief: only Story Quality, for judges with a small context window), or "
        "the published file: LongWriter's judge.txt, EQ-Bench's judging prompt, WritingBench's prompt.py",
    )
    add_trained_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judges the stories; returns 0, or 1 when a judge had to stop early."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from polaris_jax.evals import evaluate, evaluation_document, jsonl, open_bench
    from polaris_jax.evals.judging.evaluation import questions

    out = arguments.out.rstrip("/")
    trained = trained_range(arguments.trained_words)
    bench = open_bench(arguments.bench, arguments.rubric)
    if arguments.estimate:
        asked, _ = questions(bench, planned_stories(arguments), arguments.judge_samples)
        return print_estimate(arguments, out, asked, bench.answer_tokens)
    judges = open_judges(arguments, out)
    try:
        found, bad = gather_stories(arguments, out)
        if batch(arguments, judges, questions(bench, found, arguments.judge_samples)[0]):
            return 0
        keep = usage_keeper(judges)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            tasks: dict[str, TaskID] = {}

            def progress(name: str, done: int, total: int) -> None:
                keep()
                if name not in tasks:
                    tasks[name] = bar.add_task(name, total=total)
                bar.update(tasks[name], completed=done)

            result = evaluate(
                bench, found, [one.judge for one in judges], samples=arguments.judge_samples, progress=progress
            )
    finally:
        costs = close_judges(judges)
    jsonl.write(storage.join(out, "records.jsonl"), result.records)
    jsonl.write(storage.join(out, "scores.jsonl"), (score.to_json() for score in result.scores))
    facts = {"judge's prompt": bench.rubric_source, "rubric version": bench.version}
    facts |= judged_facts(arguments, costs, bad, result)
    document = evaluation_document(result, facts=facts, trained=trained, seed=arguments.seed)
    return write_report(arguments, document, out, list(result.stopped.values()))


def judged_facts(
    arguments: argparse.Namespace, costs: Mapping[str, dict], bad: Sequence, result: "BenchResult | Tournament"
) -> dict:
    """The facts of a report: stories, sampling, costs, failed answers (printed too), and lines left out."""
    from polaris_jax.evals.documents.bench_report import failures_by_kind

    facts: dict = {
        "stories": ", ".join([*arguments.generations, *arguments.checkpoint]),
        **prompt_facts(arguments),
        "judge's sampling": f"temperature {arguments.judge_temperature:g}, seed {arguments.judge_seed}, "
        f"{arguments.judge_samples} per question",
    }
    for name, cost in costs.items():
        money = "price not given" if cost["usd"] is None else f"{cost['usd']:.4f} USD"
        calls = f"{cost['calls']:,} calls ({cost['retries']} repeated, {cost['failed']} without an answer)"
        facts[f"cost of {name}"] = f"{calls}, {cost['prompt_tokens']:,} + {cost['completion_tokens']:,} tokens, {money}"
    if bad:
        facts["lines left out"] = "; ".join(map(str, bad[:20])) + (f" and {len(bad) - 20} more" if bad[20:] else "")
    for name, kinds in failures_by_kind(result.records).items():
        counts = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
        facts[f"failed answers of {name}"] = counts
        if name not in result.stopped:
            print(f"{name}: failed answers: {counts}", file=sys.stderr)
    for name, reason in result.stopped.items():
        facts[f"stopped early: {name}"] = reason
    return facts


def add_trained_flag(parser: argparse.ArgumentParser) -> None:
    """``--trained-words``, which ``trained_range`` reads."""
    parser.add_argument(
        "--trained-words",
        metavar="LOW-HIGH",
        help="requested lengths that the models were trained on, shaded in the charts",
    )


def trained_range(text: str | None) -> tuple[float, float] | None:
    """``1000-4000`` as numbers; None for None.

    Raises:
      InputError: the text is not such a range.
    """
    from polaris_jax.commands.client_flags import numbers
    from polaris_jax.errors import InputError

    if text is None:
        return None
    advice = "two numbers of words such as 1000-4000"
    found = numbers("--trained-words", text, "-", advice)
    if len(found) != 2 or found[0] >= found[1]:
        raise InputError("--trained-words", text, advice)
    return found[0], found[1]
