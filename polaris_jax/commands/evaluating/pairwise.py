"""``polaris evaluate pairwise``: every two models on every prompt, in both orders."""

import argparse

from polaris_jax import storage
from polaris_jax.commands.evaluating.judge_flags import add_judge_flags, batch, close_judges, open_judges
from polaris_jax.commands.evaluating.judged import judged_facts
from polaris_jax.commands.evaluating.story_flags import add_story_flags, finish, stories
from polaris_jax.errors import InputError

HELP = {"pairwise": "models against each other in both orders: Elo (Bradley-Terry) and Glicko-2 with intervals"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of a tournament."""
    add_story_flags(parser, "eqbench-creative")
    add_judge_flags(parser)
    parser.add_argument("--anchor", action="append", default=[], metavar="MODEL=RATING",
                        help="a known rating; may be repeated (default: the mean of all is 1500)")
    parser.add_argument("--stretch", action="store_true", help="with two anchors or more, scale ratings to meet them")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the prompts")


def run(arguments: argparse.Namespace) -> int:
    """Holds the tournament; returns 0, or 1 when a judge had to stop early."""
    from rich.console import Console
    from rich.progress import Progress

    from polaris_jax.evals import hold, jsonl, tournament_document
    from polaris_jax.evals.tournament import questions

    out, anchors = arguments.out.rstrip("/"), _anchors(arguments.anchor)
    judges = open_judges(arguments, out)
    try:
        found, bad = stories(arguments, out)
        if batch(arguments, judges, questions(found, arguments.judge_samples)[0]):
            return 0
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("judging", total=None)
            result = hold(found, [one.judge for one in judges], samples=arguments.judge_samples,
                          progress=lambda name, done, total: bar.update(task, description=name, completed=done,
                                                                        total=total))  # fmt: skip
    finally:
        costs = close_judges(judges)
    jsonl.write(storage.join(out, "records.jsonl"), result.records)
    jsonl.write(storage.join(out, "games.jsonl"), (vars(game) for game in result.games))
    document = tournament_document(
        result, facts=judged_facts(arguments, costs, bad, result.stopped), anchors=anchors, stretch=arguments.stretch,
        samples=arguments.bootstrap, seed=arguments.seed,
    )  # fmt: skip
    return finish(arguments, document, out, list(result.stopped.values()))


def _anchors(given: list[str]) -> dict[str, float]:
    anchors = {}
    for text in given:
        name, _, rating = text.rpartition("=")
        try:
            anchors[name] = float(rating)
        except ValueError:
            name = ""
        if not name:
            raise InputError("--anchor", text, "a model and its rating such as base=1352")
    return anchors
