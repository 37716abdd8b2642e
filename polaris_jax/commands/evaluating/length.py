"""``polaris evaluate length``: adherence to the requested length and self-repetition, without a judge."""

import argparse

from polaris_jax import storage
from polaris_jax.commands.evaluating.judged import add_trained_flag, trained_range
from polaris_jax.commands.evaluating.story_flags import add_story_flags, gather_stories, prompt_facts, write_report
from polaris_jax.errors import InputError

HELP = {"length": "length ratio and self-repetition against the requested length, without a judge"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the length study."""
    add_story_flags(parser, "story-quality")
    add_trained_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measures the stories; returns 0."""
    from polaris_jax.evals import jsonl
    from polaris_jax.evals.documents.length_report import REPETITION, length_document, measure_lengths

    out, trained = arguments.out.rstrip("/"), trained_range(arguments.trained_words)
    found, bad = gather_stories(arguments, out)
    if not any(one.target_words for one in found):
        raise InputError("--generations", len(found), "no story has a requested length, in target_words or its prompt")
    scores = measure_lengths(found)
    jsonl.write(storage.join(out, "scores.jsonl"), (score.to_json() for score in scores))
    facts = {"stories": ", ".join([*arguments.generations, *arguments.checkpoint]), **prompt_facts(arguments)}
    facts["measure"] = REPETITION
    if bad:
        facts["lines left out"] = "; ".join(map(str, bad[:20]))
    return write_report(arguments, length_document(scores, facts=facts, trained=trained, seed=arguments.seed), out)
