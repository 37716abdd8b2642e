"""``polaris evaluate``: writing benchmarks, pairwise Elo, length generalisation, and the studies.

The benchmarks over single stories are those of ``evals.BENCHES``; every other comparison or study is a module in
``evaluating``, found by its name in ``STUDIES``.
"""

import argparse
import importlib

STUDIES = {  # command-line name → module with HELP, add_flags and run
    "pairwise": "pairwise",
    "length": "length",
    "memorisation": "memorisation",
    "style": "style",
    "baselines": "baselines",
    "ablation": "ablation",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags: those of each benchmark."""
    from polaris_jax.evals.benches import BENCHES

    benches = parser.add_subparsers(dest="bench", required=True, metavar="BENCH")
    for name, where in (dict.fromkeys(BENCHES, "judged") | STUDIES).items():
        module = importlib.import_module(f"polaris_jax.commands.evaluating.{where}")
        text = BENCHES[name].summary if name in BENCHES else module.HELP[name]
        sub = benches.add_parser(name, help=text, description=text)
        sub.set_defaults(run_bench=module.run)
        module.add_flags(sub)


def run(arguments: argparse.Namespace) -> int:
    """Runs the benchmark; returns the exit code."""
    return arguments.run_bench(arguments)
