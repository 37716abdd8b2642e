"""What the POLARIS recipe (Qwen3.5 9B, 173 steps) takes on slices of four and eight chips: RESULTS "The recipe's plan".

    python benchmarks/rl_recipe_plan.py [--estimate] [--topology v6e-8 ...] [--config.mesh.context=4 ...]

Every phase's program is compiled for the slice (libtpu, no TPU; minutes each), or estimated. One row per slice: memory
per phase, what collectives bring to a chip per decoded token, seconds per phase, hours, dollars, judge calls.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from polaris_jax.post_training_plan import plan_post_training
from polaris_jax.training import apply_overrides, load_config

HEAD = (
    "| slice | mesh | rollouts' mesh | rollout | log-probabilities | gradients | update | GB a token | rollout s | "
    "rest s | hours | $ | judge calls | fits |"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", nargs="+", default=["v6e-8", "v5p-8", "v5p-16"])
    parser.add_argument("--estimate", action="store_true")
    arguments, overrides = parser.parse_known_args()
    config = apply_overrides(
        load_config("qwen3_5_9b_polaris", ()), [text.removeprefix("--config.") for text in overrides]
    )
    print(HEAD)
    print("|" + "---|" * (HEAD.count("|") - 1))
    for topology in arguments.topology:
        v = plan_post_training(config, topology, estimate=arguments.estimate)
        phases = {phase.name: phase for phase in v.phases}
        memory = [f"{phases[name].hbm_gib * 2**30 / 1e9:.1f}" for name in phases]
        cells = [
            topology,
            _axes(v.mesh),
            _axes(v.rollout_mesh),
            *memory,
            f"{phases['rollout'].moved_gb:.3f}",
            f"{phases['rollout'].seconds:.0f}",
            f"{v.step_s - phases['rollout'].seconds:.0f}",
            f"{v.hours:.1f}",
            "–" if v.usd is None else f"{v.usd:.0f}",
            f"{v.judge_calls:,}",
            "yes" if v.fits else "no",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def _axes(mesh: dict[str, int]) -> str:
    return " × ".join(f"{axis} {size}" for axis, size in mesh.items() if size > 1) or "one"


if __name__ == "__main__":
    main()
