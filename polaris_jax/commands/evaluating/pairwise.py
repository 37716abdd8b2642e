"""``polaris evaluate pairwise``: every pair of models on every prompt, in both orders."""

import argparse

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
from polaris_jax.commands.evaluating.judged import judged_facts
from polaris_jax.commands.evaluating.story_flags import add_story_flags, gather_stories, planned_stories, write_report
from polaris_jax.errors import InputError

HELP = {"pairwise": "models against each other in both orders: Elo (Bradley-Terry) and Glicko-2 with intervals"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a tournament."""
    add_story_flags(parser, "eqbench-creative")
    add_judge_flags(parser)
    add_estimate_flag(parser)
    parser.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="MODEL=RATING",
        help="a known rating; may be repeated (default: the mean of all is 1500)",
    )
    parser.add_argument("--stretch", action="store_true", help="with two or more anchors, scale ratings to match")
    parser.add_argument(
        "--rubric", metavar="FILE", help="EQ-Bench's published comparison prompt (default: our own words)"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the prompts")


def run(arguments: argparse.Namespace) -> int:
    """Runs the tournament; returns 0, or 1 when a judge stopped early."""
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.evals import jsonl, run_tournament, tournament_document
    from polaris_jax.evals.benches.pairwise import ANSWER_TOKENS, PairRubric, read_pair_rubric
    from polaris_jax.evals.judging.tournament import questions

    out, anchors = arguments.out.rstrip("/"), _anchors(arguments.anchor)
    rubric = read_pair_rubric(arguments.rubric) if arguments.rubric else PairRubric()
    if arguments.estimate:
        asked, _ = questions(planned_stories(arguments), arguments.judge_samples, rubric)
        return print_estimate(arguments, out, asked, ANSWER_TOKENS)
    judges = open_judges(arguments, out)
    try:
        found, bad = gather_stories(arguments, out)
        if batch(arguments, judges, questions(found, arguments.judge_samples, rubric)[0]):
            return 0
        keep = usage_keeper(judges)
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:

            def progress(name: str, done: int, total: int) -> None:
                keep()
                bar.update(task, description=name, completed=done, total=total)

            task = bar.add_task("judging", total=None)
            result = run_tournament(
                found,
                [one.judge for one in judges],
                samples=arguments.judge_samples,
                rubric=rubric,
                progress=progress,
            )
    finally:
        costs = close_judges(judges)
    jsonl.write(storage.join(out, "records.jsonl"), result.records)
    jsonl.write(storage.join(out, "games.jsonl"), (vars(game) for game in result.games))
    document = tournament_document(
        result,
        facts={"judge's prompt": rubric.source, **judged_facts(arguments, costs, bad, result)},
        anchors=anchors,
        stretch=arguments.stretch,
        samples=arguments.bootstrap,
        seed=arguments.seed,
    )
    return write_report(arguments, document, out, list(result.stopped.values()))


def _anchors(given: list[str]) -> dict[str, float]:
    anchors: dict[str, float] = {}
    for text in given:
        name, _, rating = text.rpartition("=")
        try:
            anchors[name] = float(rating)
        except ValueError:
            name = ""
        if not name:
            raise InputError("--anchor", text, "a model and its rating such as base=1352")
    return anchors
