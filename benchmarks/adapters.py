"""Adapters beside full fine-tuning, a quantised base beside a plain one, and PEFT on torch: one run on one machine.

    python benchmarks/adapters.py FOLDER --out=RESULTS.jsonl        # FOLDER: SmolLM2-135M in Hugging Face layout

On a machine with other work set OMP_NUM_THREADS=1: torch's threads wait for one another by spinning.

Every arm learns the same windows of a novel, in an order drawn per seed, with AdamW at a constant rate in float32, and
is measured on windows of another author's: held-out loss before and after, seconds of the median step, peak memory of
its process. ``peft`` starts from the very factors of ``lora16`` and takes the same windows; ``apart`` is the largest
difference of the two loss curves.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ARMS = {
    "full": {},
    "lora4": {"rank": 4},
    "lora16": {"rank": 16},
    "lora64": {"rank": 64},
    "int8_16": {"rank": 16, "base": "int8"},
    "nf4_16": {"rank": 16, "base": "nf4"},
    "peft": {"rank": 16},
}
RATES = {"full": 1e-4}  # of adapters ten times that
HELD_OUT, BETAS = 4, (0.9, 0.95)


def windows(a: argparse.Namespace, novel: str, count: int) -> np.ndarray:
    """``[count, length + 1]`` tokens of a novel, one piece after the other."""
    from polaris_jax.data import load_tokenizer
    from polaris_jax.library import read_novel

    text = "\n\n".join(chapter.text for chapter in read_novel(a.shared / "corpus" / novel).chapters)
    tokens = np.asarray(load_tokenizer(a.folder).encode(text[2_000 : 2_000 + 8 * a.length * (count + 1)]), np.int32)
    return tokens[: count * (a.length + 1)].reshape(count, a.length + 1)


def data(a: argparse.Namespace) -> tuple[list[np.ndarray], np.ndarray]:
    """Per seed the training windows ``[steps, batch, length + 1]``, and the held-out ones."""
    rows = windows(a, "stevenson_treasure-island.txt", a.steps * a.batch)
    orders = [np.random.default_rng(seed).permutation(len(rows)) for seed in range(a.seeds)]
    held = windows(a, "buchan_the-thirty-nine-steps.txt", HELD_OUT)
    return [rows[order].reshape(a.steps, a.batch, -1) for order in orders], held


def ours(a: argparse.Namespace, arm: str) -> list[dict]:
    """The arm by this library's step, one result per seed."""
    import jax
    import jax.numpy as jnp

    from polaris_jax.models.adapter_folder import peft_settings, write_adapter
    from polaris_jax.models.saving import table_tensors
    from polaris_jax.training import default_config, train_config
    from polaris_jax.training.config import lora
    from polaris_jax.training.setup import first_state, set_up
    from polaris_jax.training.step import make_evaluation, make_train_step

    def batch_of(rows: np.ndarray) -> dict:
        ints = {name: np.zeros((len(rows), a.length), np.int32) for name in ("roles", "kinds")}
        places = np.tile(np.arange(a.length, dtype=np.int32), (len(rows), 1))
        weights = np.ones((len(rows), a.length), np.float32)
        text = {"tokens": rows[:, :-1], "targets": rows[:, 1:], "weights": weights, "positions": places}
        return jax.tree.map(jnp.asarray, text | ints | {"segment_ids": np.ones_like(places)})

    seeds, held = data(a)
    found = []
    step = evaluate = None
    for seed, batches in enumerate(seeds):
        config = default_config()
        config.seed = seed
        config.model.update({"path": a.folder, "compute_dtype": "float32", "remat": "none"})
        config.mesh.context = 1
        config.data.update({"window": a.length, "batch_size": a.batch})
        config.adapter.update(ARMS[arm])
        config.optim.update({"learning_rate": RATES.get(arm, 1e-3), "schedule": "constant", "warmup": 0})
        config.optim.update({"groups": (("", "adamw"),), "clip_norm": 0.0, "b1": BETAS[0], "b2": BETAS[1]})
        typed = train_config(config, data=False)
        setup = set_up(typed, devices=jax.devices()[:1])
        state = first_state(typed, setup)
        if step is None:  # one program for all seeds: a seed changes only the draws
            step = make_train_step(typed, setup.model, setup.mesh, setup.optimizer, setup.schedule, setup.labels)
            evaluate = make_evaluation(typed, setup.model, setup.mesh)
        if arm == "lora16":
            trained, adapter = table_tensors(state.params, setup.split.trained), lora(typed)
            write_adapter(trained, peft_settings(setup.model, adapter, a.folder), a.starts / str(seed), {})

        def held_out(state, evaluate=evaluate) -> float:
            loss, weight = np.asarray(evaluate(state.params, batch_of(held), state.frozen)["roles"]).sum(axis=1)
            return float(loss / weight)

        before, losses, seconds = held_out(state), [], []
        for rows in batches:
            begun = time.perf_counter()
            state, metrics = step(state, batch_of(rows))
            losses.append(float(metrics["loss"]))
            seconds.append(time.perf_counter() - begun)
        found.append({"before": before, "after": held_out(state), "losses": losses, "seconds": seconds})
    return found


def peft(a: argparse.Namespace) -> list[dict]:
    """Rank 16 by PEFT on torch, from the factors that ``lora16`` began with."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def loss_of(model, rows: np.ndarray):
        tokens = torch.from_numpy(rows.astype(np.int64))
        logits = model(tokens[:, :-1]).logits
        return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))

    seeds, held = data(a)
    found = []
    for seed, batches in enumerate(seeds):
        base = AutoModelForCausalLM.from_pretrained(a.folder, dtype=torch.float32)
        model = PeftModel.from_pretrained(base, str(a.starts / str(seed)), is_trainable=True)
        learning = [x for x in model.parameters() if x.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=1e-3, betas=BETAS, eps=1e-8, weight_decay=0.0)
        with torch.no_grad():
            before = float(loss_of(model, held))
        losses, seconds = [], []
        for rows in batches:
            begun = time.perf_counter()
            loss = loss_of(model, rows)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss))
            seconds.append(time.perf_counter() - begun)
        with torch.no_grad():
            found.append({"before": before, "after": float(loss_of(model, held)), "losses": losses, "seconds": seconds})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--out", type=Path, default=Path("adapters.jsonl"))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--length", type=int, default=128, help="tokens per window")
    parser.add_argument("--batch", type=int, default=2, help="windows per step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shared", type=Path, default=os.environ.get("POLARIS_SHARED", "../shared"))
    parser.add_argument("--starts", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.arm:
        found = peft(a) if a.arm == "peft" else ours(a, a.arm)
        print(json.dumps({"runs": found, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}))
        return
    curves: dict[str, list[dict]] = {}
    print("arm       held-out before  after (sd)        s/step  tokens/s  peak GB  apart")
    with tempfile.TemporaryDirectory() as starts, a.out.open("a") as out:
        for arm in a.arms.split(","):
            command = [sys.executable, *sys.argv, f"--starts={starts}", f"--arm={arm}"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{arm}: {done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            curves[arm] = runs = result["runs"]
            after = [run["after"] for run in runs]
            step = statistics.median(second for run in runs for second in run["seconds"][1:])
            apart = ""
            if arm == "peft" and "lora16" in curves:
                pairs = zip(curves["lora16"], runs, strict=True)
                apart = f"{max(np.abs(np.subtract(x['losses'], y['losses'])).max() for x, y in pairs):.1e}"
            spread = statistics.stdev(after) if len(after) > 1 else 0.0
            print(
                f"{arm:9} {runs[0]['before']:15.4f}  {statistics.mean(after):.4f} ({spread:.4f})  {step:6.2f}  "
                f"{a.batch * a.length / step:8.0f}  {result['gb']:7.2f}  {apart}",
                flush=True,
            )
            out.write(json.dumps({"arm": arm, **result}) + "\n")


if __name__ == "__main__":
    main()
