"""Random attention problems, sharded and in blocks, against a plain float64 computation; forward, gradients and maxima.

    python benchmarks/attention_fuzz.py --seconds 600                                      # the portable loop
    python benchmarks/attention_fuzz.py --seconds 600 --implementation pallas_interpret    # the TPU kernels

A case is a seed: shards, heads, widths, packing (rows of padding included), window, order of tokens, method, block,
scale and size of the inputs. Prints a line per wrong result with its seed, and one JSON line at the end. Exit code 1 if
any is wrong. ``tests/ops/test_attention_against_float64.py`` runs a few.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.ops import context_attention
from polaris_jax.sharding import make_mesh

NAMES = ("out", "dq", "dk", "dv", "largest score")


@dataclass(frozen=True)
class Case:
    """One problem, by its seed. Sizes are heads, tokens and channels; ``fsdp`` and ``shards`` are devices."""

    seed: int
    rows: int
    tokens: int
    heads: int
    kv_heads: int
    width: int
    shards: int
    fsdp: int
    window: int | None
    method: str
    block: int
    scale: float
    size: float
    order: str
    implementation: str
    chip: str | None


def draw(seed: int, implementation: str = "xla") -> tuple[Case, np.random.Generator]:
    """A case, and the generator from which its numbers come."""
    rng = np.random.default_rng(seed)
    kernels = implementation != "xla"  # their blocks are multiples of 128, and a row should have several
    shards, kv_heads, rows = (int(rng.choice(choice)) for choice in ((1, 2, 4, 8), (1, 2, 4), (1, 2)))
    unit = 2 * shards
    tokens = unit * int(rng.integers(200 // unit, 600 // unit) if kernels else rng.integers(1, 12))
    width = int(rng.choice([64, 128] if kernels else [8, 16, 64]))
    case = Case(
        seed=seed,
        rows=rows,
        tokens=tokens,
        heads=kv_heads * int(rng.integers(1, 4)),
        kv_heads=kv_heads,
        width=width,
        shards=shards,
        fsdp=2 if rows == 2 and shards <= 4 and rng.random() < 0.3 else 1,
        window=None if rng.random() < 0.5 else int(rng.integers(1, tokens + 3)),
        method=str(rng.choice(["ring", "two_level", "all_gather"])),
        block=int(rng.choice([128, 256] if kernels else [1, 3, 4, 7, 16, 64])),
        scale=float(rng.choice([1.0, width**-0.5, 3.0])),
        size=float(rng.choice([1.0, 5.0])),
        order=str(rng.choice(["zigzag", "zigzag", "zigzag", "natural", "shuffled"])),
        implementation=implementation,
        chip=str(rng.choice(["TPU v5p", "TPU v6 lite"])) if kernels else None,  # two cores, and the other layout
    )
    return case, rng


def documents(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Positions and segments ``[B, S] int32``: documents of random lengths, then padding, sometimes padding alone."""
    positions, segments = (np.zeros((case.rows, case.tokens), np.int32) for _ in range(2))
    for row in range(case.rows):
        start, number = 0, 1
        if rng.random() < 0.15:
            continue
        while start < case.tokens:
            end = min(start + int(rng.integers(1, case.tokens + 1)), case.tokens)
            segments[row, start:end], positions[row, start:end] = number, np.arange(end - start)
            start, number = end, number + 1
            if rng.random() < 0.2:
                break
    return positions, segments


def zigzag(tokens: int, shards: int) -> np.ndarray:
    """The order of a row's tokens: shard ``i`` holds chunks ``i`` and ``2 * shards - 1 - i``."""
    chunks = np.arange(tokens).reshape(2 * shards, -1)
    return np.concatenate([chunks[c] for i in range(shards) for c in (i, 2 * shards - 1 - i)])


def tolerance(case: Case, largest: float) -> float:
    """Error that float32 may have, relative to the largest number of a result.

    A score of ``largest`` nats is off by units of its own last place, which its exponential turns into a share of the
    weight; sums over keys and channels add the square root of their length (see ``tests/tolerances.py``).
    """
    return 8 * 2.0**-24 * (largest + case.tokens**0.5 + case.width**0.5)


def plain(q, k, v, cotangent, positions, segments, case: Case) -> tuple[tuple[np.ndarray, ...], float]:
    """``NAMES`` in float64, from the whole matrix of scores, and the size of the largest score of any pair."""
    q, k, v, cotangent = (x.astype(np.float64) for x in (q, k, v, cotangent))
    repeats = case.heads // case.kv_heads
    wide_k, wide_v = np.repeat(k, repeats, 2), np.repeat(v, repeats, 2)
    apart = positions[:, :, None] - positions[:, None]
    seen = (segments[:, :, None] == segments[:, None]) & (segments[:, :, None] > 0) & (apart >= 0)
    if case.window is not None:
        seen &= apart < case.window
    scores = np.einsum("bqhd,bkhd->bhqk", q, wide_k) * case.scale
    largest = float(np.abs(scores).max())
    scores = np.where(seen[:, None], scores, -np.inf)
    highest = scores.max(-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(highest), highest, 0))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    into_weights = np.einsum("bqhd,bkhd->bhqk", cotangent, wide_v)
    into_scores = weights * (into_weights - (into_weights * weights).sum(-1, keepdims=True)) * case.scale

    def by_key_head(x):
        return x.reshape(case.rows, case.tokens, case.kv_heads, repeats, case.width).sum(3)

    results = (
        np.einsum("bhqk,bkhd->bqhd", weights, wide_v),
        np.einsum("bhqk,bkhd->bqhd", into_scores, wide_k),
        by_key_head(np.einsum("bhqk,bqhd->bkhd", into_scores, q)),
        by_key_head(np.einsum("bhqk,bqhd->bkhd", weights, cotangent)),
        scores.max((0, 2, 3)),
    )
    return results, largest


def errors(seed: int, implementation: str = "xla") -> tuple[Case, dict[str, float]]:
    """The largest error of every result of a case, as a share of the tolerance; infinite for NaN."""
    case, rng = draw(seed, implementation)
    positions, segments = documents(case, rng)
    widths = [(case.heads, case.size), (case.kv_heads, 1.0), (case.kv_heads, 1.0), (case.heads, 1.0)]
    arrays = [
        (rng.normal(size=(case.rows, case.tokens, n, case.width)) * size).astype(np.float32) for n, size in widths
    ]
    order = {"zigzag": zigzag(case.tokens, case.shards), "natural": np.arange(case.tokens)}.get(case.order)
    order = rng.permutation(case.tokens) if order is None else order
    devices = jax.devices()[: case.fsdp * case.shards]
    mesh = make_mesh({"fsdp": case.fsdp, "context": case.shards}, devices=devices)

    @jax.jit
    def sharded(q, k, v, cotangent, positions, segments):
        def attend(q, k, v):
            return context_attention(
                *(q, k, v),
                q_positions=positions,
                kv_positions=positions,
                q_segments=segments,
                kv_segments=segments,
                mesh=mesh,
                method=case.method,
                scale=case.scale,
                window=case.window,
                block=case.block,
                implementation=case.implementation,
                chip=case.chip,
                return_max_logit=True,
            )

        (out, largest), pull = jax.vjp(attend, q, k, v)
        return (out, *pull((cotangent, jnp.zeros_like(largest))), largest)

    got = sharded(*(array[:, order] for array in (*arrays, positions, segments)))
    want, largest = plain(*arrays, positions, segments, case)
    most, found = tolerance(case, largest), {}
    for name, have, expected in zip(NAMES, got, want, strict=True):
        expected = expected[:, order] if name != "largest score" else expected
        have = np.asarray(have, np.float64)
        # A head without a visible key has no largest score: minus infinity, or nearly.
        nothing = np.isneginf(expected) & (have < -1e29)
        have, expected = np.where(nothing, 0.0, have), np.where(nothing, 0.0, expected)
        error = np.abs(have - expected).max() / (np.abs(expected).max() + 1e-6)
        found[name] = float(error / most) if np.isfinite(have).all() else float("inf")
    return case, found


def main() -> int:
    """Runs cases until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--implementation", choices=("xla", "pallas_interpret"), default="xla")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)
    end, seed, worst, wrong = time.monotonic() + arguments.seconds, arguments.first, 0.0, 0
    while time.monotonic() < end:
        case, found = errors(seed, arguments.implementation)
        worst = max(worst, *found.values())
        if max(found.values()) > 1:
            wrong += 1
            print("wrong:", json.dumps({"errors": found, **asdict(case)}), flush=True)
        seed += 1
        if seed % 20 == 0:
            jax.clear_caches()  # every case is a program of its own
    print(json.dumps({"cases": seed - arguments.first, "wrong": wrong, "worst": worst}))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
