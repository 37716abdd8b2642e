"""How full the windows of the POLARIS recipe's update are: RESULTS "The recipe's plan".

    python benchmarks/update_fill.py [--steps=200] [--seed=0]

Packs steps of 8 groups of 6 rows, as the learner does, for the recipe's windows on slices of four and eight chips, with
two chips per window and with one. The lengths are assumptions, since nobody has published those of a run: a group's
rows lie around the length its prompt asks for. Prints a line per spread of lengths and layout: the mean share of real
tokens over the steps, and the share that all but 5 % of the steps exceed.
"""

import argparse

import numpy as np

from polaris_jax.data import plan_bins
from polaris_jax.rl.rows import best_window
from polaris_jax.training import load_config

GROUPS, ROWS, PROMPT, RESPONSE = 8, 6, 256, 8192
# What prompts ask for, in tokens of the response: the first argument draws, the second says how many groups.
SPREADS = {
    "1,000 to 8,192, evenly": lambda draw, n: draw.uniform(1000, RESPONSE, n),
    "about 2,500 (log-normal, 0.6)": lambda draw, n: np.exp(draw.normal(np.log(2500), 0.6, n)),
    "about 900 (log-normal, 0.6)": lambda draw, n: np.exp(draw.normal(np.log(900), 0.6, n)),
    "5,000 to 8,192, evenly": lambda draw, n: draw.uniform(5000, RESPONSE, n),
}


def lengths(draw: np.random.Generator, spread: str) -> list[int]:
    """Tokens of a step's rows: each within a fifth of what its prompt asks for, and a prompt of up to 256."""
    asked = np.repeat(SPREADS[spread](draw, GROUPS), ROWS) * draw.uniform(0.8, 1.2, GROUPS * ROWS)
    prompts = np.repeat(draw.integers(30, PROMPT + 1, GROUPS), ROWS)
    return [int(row) for row in np.clip(asked, 50, RESPONSE) + prompts]


def fill(rows: list[int], window: int, sizes: int, multiple: int, granule: int) -> float:
    """Real tokens over all tokens of the windows."""
    chosen = best_window(rows, window, sizes=sizes, multiple=multiple, granule=granule)
    windows = -(-len(plan_bins(rows, chosen)) // multiple) * multiple
    return sum(rows) / (windows * chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    rl = load_config("qwen3_5_9b_polaris", ()).rl
    print("| lengths asked for | chips | windows at a time | tokens | lengths of windows | fill | 5 % of steps below |")
    print("|---|---|---|---|---|---|---|")
    for spread in SPREADS:
        steps = [lengths(np.random.default_rng([a.seed, step]), spread) for step in range(a.steps)]
        for chips in (8, 4):
            for window, sizes, context in ((rl.window // 2, 1, 1), (rl.window // 2, rl.window_sizes, 1),
                                           (rl.window, rl.window_sizes, 2)):  # fmt: skip
                found = [fill(rows, window, sizes, chips // context, 256 * context) for rows in steps]
                low = np.percentile(found, 5)
                layout = f"{chips} | {chips // context} | {window:,} | {sizes}"
                print(f"| {spread} | {layout} | {np.mean(found):.3f} | {low:.3f} |")


if __name__ == "__main__":
    main()
