"""What rounding of the weights does to learning: seven variants of one training run, over sizes and seeds.

    nice -n 10 python benchmarks/optimizer_study.py --out docs/optimizer_study.jsonl     # resumable, a line per run
    python benchmarks/optimizer_study.py --sweep --out /tmp/sweep.jsonl                  # how the rates were chosen
    python benchmarks/optimizer_study.py --time --out docs/optimizer_study_time.jsonl    # step times, turn by turn

Small Llama models read bytes of novels; authors of the held-out novels are not trained on. Within a seed all variants
start from the same weights and see the same batches in the same order. Arithmetic is float32 throughout: only what is
stored, and the copy of the weights that the forward pass reads, is rounded, so that rounding is the one difference.
``benchmarks/optimizer_study_report.py`` makes tables and plots of the lines.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from polaris_jax.library import read_novel
from polaris_jax.models import ModelConfig, abstract_params, init_params
from polaris_jax.models.decoder import logits
from polaris_jax.ops import attention
from polaris_jax.optim import GroupRule, apply_updates, label_params, make_optimizer, make_schedule, working_copy
from polaris_jax.optim.groups import DEFAULT_RULES


@dataclass(frozen=True)
class Variant:
    """``stored``: dtype of weights and momenta; ``written``: how an update enters them; ``read``: the working copy."""

    optimizer: str
    stored: str
    written: str  # exact | nearest | stochastic
    read: str  # stored | nearest | stochastic | scaled


VARIANTS = {
    "AdamW fp32": Variant("adamw", "float32", "exact", "stored"),
    "Muon fp32": Variant("muon", "float32", "exact", "stored"),
    "Muon bf16 nearest": Variant("muon", "bfloat16", "nearest", "stored"),
    "Muon bf16_stochastic": Variant("muon", "bfloat16", "stochastic", "stored"),
    "Muon masters, nearest copy": Variant("muon", "float32", "exact", "nearest"),
    "Muon masters, stochastic copy": Variant("muon", "float32", "exact", "stochastic"),
    "Muon masters, LR-scaled copy": Variant("muon", "float32", "exact", "scaled"),
}
SIZES = {"0.1M": (48, 144, 4), "0.5M": (96, 288, 4)}  # width, MLP width, layers
RATES = {"adamw": 3e-3, "muon": 1e-2}  # from --sweep
LOW_RATE, LOW_VARIANTS = 1e-3, ("Muon fp32", "Muon bf16 nearest", "Muon bf16_stochastic")  # as in fine-tuning
SEEDS = (0, 1, 2)
STEPS, WARMUP, ROWS, WINDOW, AT_ONCE = 300, 25, 8, 128, 50
HEADS, HELD_OUT_ROWS = 2, 128


def read_corpus(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """``(training bytes, held-out bytes)``: every fifth of the smaller novels, by author's name, is held out."""
    texts = []
    for path in sorted(folder.glob("*.txt")):
        if path.stat().st_size < 500_000:
            novel = read_novel(path)
            texts.append("\n\n".join(chapter.text for chapter in novel.chapters).encode())
    held = b"".join(text[:60_000] for text in texts[::5])
    rest = b"".join(text for number, text in enumerate(texts) if number % 5)
    return np.frombuffer(rest, np.uint8), np.frombuffer(held, np.uint8)


def model_of(size: str) -> ModelConfig:
    width, mlp, layers = SIZES[size]
    return ModelConfig.from_hf(
        {
            "model_type": "llama",
            "hidden_size": width,
            "intermediate_size": mlp,
            "num_hidden_layers": layers,
            "num_attention_heads": HEADS,
            "num_key_value_heads": HEADS,
            "vocab_size": 256,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10_000.0,
            "tie_word_embeddings": True,
            "max_position_embeddings": WINDOW,
        }
    )


def loss_of(model: ModelConfig, params, rows):
    """Nats per byte over ``rows [B, S + 1] int32``."""
    scores = logits(params, model, rows[:, :-1], attend=attention, compute_dtype=jnp.float32)
    return optax.softmax_cross_entropy_with_integer_labels(scores, rows[:, 1:]).mean()


def make_steps(model: ModelConfig, variant: Variant, optimizer, schedule, peak: float):
    """``(params, state, key, first step, rows [K, B, S + 1]) -> (params, state, losses [K])``, jitted."""
    copies = {
        "stored": lambda params, key, share: params,
        "nearest": lambda params, key, share: working_copy("fp32_master", params, key, share, jnp.bfloat16),
        "stochastic": lambda params, key, share: working_copy("stochastic_downcast", params, key, 1.0, jnp.bfloat16),
        "scaled": lambda params, key, share: working_copy("stochastic_downcast", params, key, share, jnp.bfloat16),
    }

    def write(params, updates, key):
        if variant.written == "nearest":
            return jax.tree.map(lambda p, u: (p.astype(jnp.float32) + u).astype(p.dtype), params, updates)
        return apply_updates(
            "bf16_stochastic" if variant.written == "stochastic" else "fp32_master", params, updates, key
        )

    def step(key, carry, rows):
        params, state, number = carry
        noise, rounding = jax.random.split(jax.random.fold_in(key, number))
        copy = copies[variant.read](params, noise, schedule(number) / peak)
        copy = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), copy)
        loss, gradients = jax.value_and_grad(partial(loss_of, model))(copy, rows)
        gradients = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, params)
        updates, state = optimizer.update(gradients, state, params)
        return (write(params, updates, rounding), state, number + 1), loss

    @partial(jax.jit, donate_argnums=(0, 1))
    def steps(params, state, key, first, rows):
        (params, state, _), losses = jax.lax.scan(partial(step, key), (params, state, first), rows)
        return params, state, losses

    return steps


def prepare(size: str, name: str, seed: int, rate: float | None = None):
    """Everything of a run before its first step: ``(model, params, state, steps)``."""
    model, variant = model_of(size), VARIANTS[name]
    peak = rate or RATES[variant.optimizer]
    schedule = make_schedule("cosine", peak, STEPS, WARMUP)
    rules = DEFAULT_RULES if variant.optimizer == "muon" else (GroupRule("", "adamw"),)
    dtype = jnp.dtype(variant.stored)
    optimizer = make_optimizer(label_params(abstract_params(model), rules), schedule, state_dtype=dtype)
    params = init_params(model, jax.random.key(seed))
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16).astype(dtype), params)  # representable: all start alike
    return model, params, optimizer.init(params), make_steps(model, variant, optimizer, schedule, peak)


def run(size: str, name: str, seed: int, train: np.ndarray, held: np.ndarray, rate: float | None = None) -> dict:
    """One training run: held-out loss along the way, bytes of the live state, seconds per step."""
    model, params, state, steps = prepare(size, name, seed, rate)
    starts = np.random.default_rng(1000 + seed).integers(0, len(train) - WINDOW - 1, (STEPS, ROWS))
    window = np.arange(WINDOW + 1)
    held_rows = held[: HELD_OUT_ROWS * (len(held) // HELD_OUT_ROWS)].reshape(HELD_OUT_ROWS, -1)[:, : WINDOW + 1]
    reads = jax.jit(lambda params, rows: loss_of(model, jax.tree.map(lambda p: p.astype(jnp.float32), params), rows))

    def held_out():  # weights as they are stored; masters are read as the nearest bfloat16, as they would be served
        return float(
            reads(
                params
                if VARIANTS[name].read == "stored"
                else working_copy("fp32_master", params, jax.random.key(0), 0.0, jnp.bfloat16),
                held_rows.astype(np.int32),
            )
        )

    bytes_, seconds, curve = state_bytes(params, state), [], []
    for first in range(0, STEPS, AT_ONCE):
        rows = train[starts[first : first + AT_ONCE, :, None] + window].astype(np.int32)
        clock = time.perf_counter()
        params, state, losses = steps(params, state, jax.random.key(seed), jnp.int32(first), rows)
        losses = np.asarray(losses)
        seconds.append((time.perf_counter() - clock) / AT_ONCE)
        curve.append([first + AT_ONCE, round(float(losses.mean()), 5), round(held_out(), 5)])
    return {
        "size": size,
        "variant": name,
        "seed": seed,
        "rate": rate or RATES[VARIANTS[name].optimizer],
        "held_out": curve[-1][2],
        "parameters": sum(p.size for p in jax.tree.leaves(params)),
        **bytes_,
        "step_s": round(float(np.median(seconds[1:])), 5),
        "curve": curve,
    }


def time_steps(size: str, rows: np.ndarray, turns: int = 5) -> dict:
    """Processor time per step of every variant over that of Muon in float32, median of alternating turns.

    Args:
      rows: ``[K, B, S + 1] int32``, the steps of one turn.
    """
    held, seconds = {}, {name: [] for name in VARIANTS}
    for turn in range(turns + 1):
        for name in VARIANTS:
            if turn == 0:
                _, params, state, steps = prepare(size, name, seed=0)
                held[name] = [steps, params, state]
            steps, params, state = held[name]
            clock = time.process_time()
            params, state, losses = steps(params, state, jax.random.key(0), jnp.int32(0), rows)
            losses.block_until_ready()
            seconds[name].append((time.process_time() - clock) / len(rows))
            held[name][1:] = params, state
    ratios = {
        name: sorted(x / y for x, y in zip(values[1:], seconds["Muon fp32"][1:], strict=True))
        for name, values in seconds.items()
    }
    return {
        "size": size,
        "muon_fp32_s": round(float(np.median(seconds["Muon fp32"][1:])), 4),
        "ratios": {name: [round(ratio, 3) for ratio in values] for name, values in ratios.items()},
    }


def state_bytes(params, state) -> dict[str, float]:
    """Bytes per parameter of the live arrays."""
    count = sum(p.size for p in jax.tree.leaves(params))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((params, state)))
    return {"bytes_per_parameter": round(size / count, 3)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; runs that it holds are not repeated")
    parser.add_argument("--shared", type=Path, default=os.environ.get("POLARIS_SHARED", "../shared"))
    parser.add_argument("--sweep", action="store_true", help="learning rates of AdamW and Muon at the smaller size")
    parser.add_argument("--time", action="store_true", help="processor time per step of all variants")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    a = parser.parse_args()
    train, held = read_corpus(Path(a.shared) / "corpus")
    if a.time:
        window = train[np.arange(10 * ROWS)[:, None] * 1000 + np.arange(WINDOW + 1)]
        lines = [json.dumps(time_steps(size, window.reshape(10, ROWS, -1).astype(np.int32))) for size in a.sizes]
        a.out.write_text("".join(line + "\n" for line in lines))
        return
    if a.sweep:
        todo = [("0.1M", name, 7, rate) for name in ("AdamW fp32", "Muon fp32") for rate in (3e-3, 1e-2, 3e-2)]
    else:
        todo = [
            (size, name, seed, RATES[VARIANTS[name].optimizer])
            for seed in SEEDS
            for size in a.sizes
            for name in VARIANTS
        ]
        todo += [(size, name, seed, LOW_RATE) for seed in SEEDS for size in a.sizes for name in LOW_VARIANTS]
    lines = a.out.read_text().splitlines() if a.out.exists() else []
    done = {(r["size"], r["variant"], r["seed"], r["rate"]) for r in map(json.loads, lines)}
    for case in todo:
        if case not in done:
            line = json.dumps(run(*case[:3], train, held, case[3]))
            with a.out.open("a") as file:
                file.write(line + "\n")
            print(line[:160], flush=True)


if __name__ == "__main__":
    main()
