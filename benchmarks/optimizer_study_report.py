"""Tables and the plot of ``benchmarks/optimizer_study.py``'s lines.

    python benchmarks/optimizer_study_report.py docs/optimizer_study.jsonl --time docs/optimizer_study_time.jsonl \
        --plot docs/optimizer_study.svg

Means are over seeds, with the standard error of the mean; differences are taken within a seed (same start, same data)
before they are averaged, from Muon in float32.
"""

import argparse
import json
import statistics
from pathlib import Path

BASE, TUNED = "Muon fp32", 1e-2


def mean_se(values: list[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for a single value)."""
    spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return statistics.fmean(values), spread


def table(runs: list[dict], times: dict[str, dict]) -> str:
    """Markdown, one row per size and variant."""
    lines = [
        "| parameters | peak rate | variant | seeds | held-out nats per byte | above Muon fp32 | bytes per "
        "parameter | step time |",
        "|" + "---|" * 8,
    ]
    for size, rate in sorted({(run["size"], muon_rate(run)) for run in runs}, key=lambda group: (group[0], -group[1])):
        group = [run for run in runs if (run["size"], muon_rate(run)) == (size, rate)]
        base = {run["seed"]: run["held_out"] for run in group if run["variant"] == BASE}
        for variant in dict.fromkeys(run["variant"] for run in group):
            own = [run for run in group if run["variant"] == variant]
            loss, se = mean_se([run["held_out"] for run in own])
            gap, gap_se = mean_se([run["held_out"] - base[run["seed"]] for run in own if run["seed"] in base])
            ratios = times.get(size, {}).get("ratios", {}).get(variant)
            took = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})" if ratios else "-"
            above = "0" if variant == BASE else f"{gap:+.4f} ± {gap_se:.4f}"
            lines.append(
                f"| {size} | {own[0]['rate']:g} | {variant} | {len(own)} | {loss:.4f} ± {se:.4f} | {above} | "
                f"{own[0]['bytes_per_parameter']:.2f} | {took} |"
            )
    return "\n".join(lines)


def muon_rate(run: dict) -> float:
    """The rate of the Muon runs that a run stands beside; AdamW has one of its own and stands beside the tuned ones."""
    return run["rate"] if run["variant"] != "AdamW fp32" else TUNED


def plot(runs: list[dict], path: Path) -> None:
    """Held-out loss over steps as a difference from Muon fp32 at the same step and seed, a panel per size and rate."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "polaris"
    from matplotlib import pyplot

    groups = sorted({(run["size"], muon_rate(run)) for run in runs}, key=lambda group: (group[0], -group[1]))
    figure, panels = pyplot.subplots(1, len(groups), figsize=(4 * len(groups), 4), sharey=True, squeeze=False)
    for panel, (size, rate) in zip(panels[0], groups, strict=True):
        curves = {
            (run["variant"], run["seed"]): run["curve"]
            for run in runs
            if (run["size"], muon_rate(run)) == (size, rate) and run["variant"] != "AdamW fp32"
        }
        for variant in dict.fromkeys(variant for variant, _ in curves if variant != BASE):
            seeds = [seed for name, seed in curves if name == variant and (BASE, seed) in curves]
            steps = [point[0] for point in curves[variant, seeds[0]]]
            gaps = [
                mean_se([curves[variant, seed][i][2] - curves[BASE, seed][i][2] for seed in seeds])
                for i in range(len(steps))
            ]
            panel.errorbar(
                steps,
                [gap for gap, _ in gaps],
                [se for _, se in gaps],
                label=variant.removeprefix("Muon "),
                capsize=2,
                linewidth=1,
            )
        panel.axhline(0, color="black", linewidth=0.8)
        panel.set(title=f"{size} parameters, peak rate {rate:g}", xlabel="step")
    panels[0][0].set_ylabel("held-out loss above Muon fp32 (nats per byte)")
    panels[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--time", type=Path)
    parser.add_argument("--plot", type=Path)
    a = parser.parse_args()
    runs = [json.loads(line) for line in a.runs.read_text().splitlines()]
    times = [json.loads(line) for line in a.time.read_text().splitlines()] if a.time else []
    print(table(runs, {row["size"]: row for row in times}))
    if a.plot:
        plot(runs, a.plot)


if __name__ == "__main__":
    main()
