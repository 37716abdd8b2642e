"""``polaris evaluate`` story-quality, eqbench-longform, eqbench-creative, writingbench, longbench-write."""

import argparse

from polaris_jax import storage
from polaris_jax.commands.evaluating.judge_flags import add_judge_flags, batch, close_judges, open_judges
from polaris_jax.commands.evaluating.story_flags import add_story_flags, finish, stories

HELP = {
    "story-quality": "Story Quality: 16 dimensions, -151 to 100, with bands of requested length and slope",
    "eqbench-longform": "EQ-Bench LongForm: 12 criteria, 0 to 100",
    "eqbench-creative": "EQ-Bench Creative Writing: 22 criteria, 0 to 100",
    "writingbench": "WritingBench D4: a checklist of criteria per prompt, 1 to 10",
    "longbench-write": "LongBench-Write: quality times obedience to the requested length, 0 to 100",
}
_SETS = {"writingbench": "writingbench-d4"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a benchmark over single stories."""
    name = parser.prog.split()[-1]
    add_story_flags(parser, _SETS.get(name, name))
    add_judge_flags(parser)
    parser.add_argument("--rubric", choices=("full", "brief"), default="full",
                        help="of Story Quality; brief is for judges with a small context window")
    parser.add_argument("--trained-words", default="1000-4000", metavar="LOW-HIGH",
                        help="requested lengths the models were trained on, shaded in the plots")


def run(arguments: argparse.Namespace) -> int:
    """Judges the stories; returns 0, or 1 when a judge had to stop early."""
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.evals import evaluate, evaluation_document, jsonl, open_bench
    from polaris_jax.evals.evaluation import questions

    out = arguments.out.rstrip("/")
    trained = trained_range(arguments.trained_words)
    bench = open_bench(arguments.bench, arguments.rubric)
    judges = open_judges(arguments, out)
    try:
        found, bad = stories(arguments, out)
        if batch(arguments, judges, questions(bench, found, arguments.judge_samples)[0]):
            return 0
        with Progress(console=Console(stderr=True), transient=True) as bar:
            tasks: dict[str, int] = {}

            def progress(name: str, done: int, total: int) -> None:
                if name not in tasks:
                    tasks[name] = bar.add_task(name, total=total)
                bar.update(tasks[name], completed=done)

            result = evaluate(bench, found, [one.judge for one in judges], samples=arguments.judge_samples,
                              progress=progress)  # fmt: skip
    finally:
        costs = close_judges(judges)
    jsonl.write(storage.join(out, "records.jsonl"), result.records)
    jsonl.write(storage.join(out, "scores.jsonl"), (score.to_json() for score in result.scores))
    facts = judged_facts(arguments, costs, bad, result.stopped) | {"rubric version": bench.version}
    document = evaluation_document(result, facts=facts, trained=trained, seed=arguments.seed)
    return finish(arguments, document, out, list(result.stopped.values()))


def judged_facts(arguments: argparse.Namespace, costs: dict, bad: list, stopped) -> dict:
    """What a report says about how it was made."""
    facts: dict = {
        "stories": ", ".join([*arguments.generations, *arguments.checkpoint]),
        "judge's sampling": f"temperature {arguments.judge_temperature:g}, seed {arguments.judge_seed}, "
                            f"{arguments.judge_samples} per question",
    }  # fmt: skip
    for name, cost in costs.items():
        money = "price not given" if cost["usd"] is None else f"{cost['usd']:.4f} USD"
        calls = f"{cost['calls']:,} calls ({cost['retries']} repeated, {cost['failed']} without an answer)"
        facts[f"cost of {name}"] = f"{calls}, {cost['prompt_tokens']:,} + {cost['completion_tokens']:,} tokens, {money}"
    if bad:
        facts["lines left out"] = "; ".join(map(str, bad[:20])) + (f" and {len(bad) - 20} more" if bad[20:] else "")
    for name, reason in stopped.items():
        facts[f"stopped early: {name}"] = reason
    return facts


def trained_range(text: str) -> tuple[float, float]:
    """``1000-4000`` as numbers.

    Raises:
      InputError: not such a range.
    """
    from polaris_jax.commands.client_flags import numbers
    from polaris_jax.errors import InputError

    advice = "two numbers of words such as 1000-4000"
    found = numbers("--trained-words", text, "-", advice)
    if len(found) != 2 or found[0] >= found[1]:
        raise InputError("--trained-words", text, advice)
    return found
