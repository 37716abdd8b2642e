"""``polaris evaluate style``: does training on human prose move generations away from assistant style?"""

import argparse

from polaris_jax import storage
from polaris_jax.commands.evaluating.judge_flags import add_judge_flags, close_judges, open_judges
from polaris_jax.commands.evaluating.story_flags import split_name, write_report
from polaris_jax.commands.flag_types import folder_to_write
from polaris_jax.errors import InputError

HELP = {"style": "the literary-shift study: generations before (a) and after (b) against human novels"}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the study."""
    kinds = "novels, transcripts, a JSONL of generations, a folder of these, or a token store"
    parser.add_argument("--human", required=True, nargs="+", metavar="STORE_OR_FILES", help=f"the baseline: {kinds}")
    parser.add_argument("--a", required=True, nargs="+", metavar="[NAME=]FILE", help=f"generations before: {kinds}")
    parser.add_argument("--b", nargs="+", metavar="[NAME=]FILE", help="generations after")
    parser.add_argument("--out", type=folder_to_write, required=True, metavar="DIR", help="local or gs://")
    parser.add_argument("--tokenizer", metavar="DIR", help="tokenizer of the token stores")
    parser.add_argument("--split", default="", help="use only this split of the token stores")
    parser.add_argument("--per-author", type=int, default=12, help="most passages and stories per author")
    parser.add_argument("--seed", type=int, default=0, help="seed of bootstrap and folds")
    parser.add_argument("--json", action="store_true", help="print the study as JSON")
    add_judge_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compares the groups; returns 0.

    Raises:
      InputError: a group has no story, or several judges were named.
    """
    from polaris_jax.evals import jsonl
    from polaris_jax.studies.style import Story, compare_styles, read_all, style_document

    out = arguments.out.rstrip("/")
    if len(arguments.judge or ()) > 1:
        raise InputError("--judge", arguments.judge, "one judge at a time for the style study")
    options = {"tokenizer": arguments.tokenizer, "split": arguments.split}
    human = read_all(arguments.human, **options)
    groups: dict[str, list[Story]] = {}
    for label, texts in (("a", arguments.a), ("b", arguments.b or [])):
        parts = [split_name(text) for text in texts]
        if parts:
            name = next((name for name, _ in parts if name), label)
            groups[name] = read_all([place for _, place in parts], **options)
    if arguments.b and len(groups) < 2:
        raise InputError("--b", arguments.b, "has the same name as --a; use NAME=FILE")
    judges = open_judges(arguments, out) if arguments.judge else []
    try:
        comparison = compare_styles(
            human,
            groups,
            per_author=arguments.per_author,
            seed=arguments.seed,
            judge=judges[0].judge.client if judges else None,
            draws=arguments.judge_samples,
        )
    finally:
        costs = close_judges(judges)
    jsonl.write(storage.join(out, "measures.jsonl"), comparison["rows"])
    facts = {"human": ", ".join(arguments.human), **{name: len(stories) for name, stories in groups.items()}}
    return write_report(arguments, style_document(comparison, facts | ({"judges": costs} if costs else {})), out)
