"""Judges for the tests: replies in a judge's form, served over HTTP by the proxy, and runs of the command."""

import json

from servers import completion

from polaris_jax.cli import main
from polaris_jax.evals.benches import eqbench_creative, eqbench_longform, pairwise


def score_lines(criteria, virtue, fault=0):
    """An EQ-Bench answer with one score for all good qualities and one for all faults."""
    faults = eqbench_longform.FAULTS | eqbench_creative.FAULTS
    lines = "\n".join(f"{name}: {fault if name in faults else virtue}" for name in criteria)
    return completion(f"[Analysis]\nAs read.\n\n[Scores]\n{lines}")


def longform(virtue, fault=0):
    return score_lines(eqbench_longform.CRITERIA, virtue, fault)


def creative(virtue, fault=0):
    return score_lines(eqbench_creative.CRITERIA, virtue, fault)


def answer(**fields):
    return completion(json.dumps(fields))


def verdict(winner, signs):
    """A pairwise answer in which one position wins every criterion."""
    return answer(chain_of_thought_reasoning="r", **dict.fromkeys(pairwise.CRITERIA, winner + "+" * signs))


def story_file(path, stories, **fields):
    """A JSONL file of ``id → story``."""
    rows = [{"id": name, "prompt": f"Prompt {name}.", "story": story, **fields} for name, story in stories.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(bench, out, *flags):
    """Runs ``polaris evaluate``; the exit code."""
    return main(["evaluate", bench, f"--out={out}", *map(str, flags)])


def rows(path):
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
