"""``polaris evaluate``: writing benchmarks, pairwise Elo, length generalisation, memorisation, and prose style.

Every benchmark is a module of its own in ``evaluating``, found by its name in ``BENCHES``.
"""

import argparse
import importlib

BENCHES = {  # name on the command line → module with add_flags and run
    "story-quality": "judged",
    "eqbench-longform": "judged",
    "eqbench-creative": "judged",
    "writingbench": "judged",
    "longbench-write": "judged",
    "pairwise": "pairwise",
    "length": "length",
    "memorisation": "memorisation",
    "style": "style",
    "baselines": "baselines",
    "ablation": "ablation",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags: those of each benchmark."""
    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for name, where in BENCHES.items():
        module = importlib.import_module(f"polaris_jax.commands.evaluating.{where}")
        text = module.HELP[name]
        sub = benches.add_parser(name, help=text, description=text)
        sub.set_defaults(run_bench=module.run)
        module.add_flags(sub)


def run(arguments: argparse.Namespace) -> int:
    """Runs the benchmark; returns the exit code."""
    return arguments.run_bench(arguments)
