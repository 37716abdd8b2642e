"""Time of one optimizer step and bytes of its state, beside ``optax.contrib.muon``, on one device and on eight.

    python benchmarks/optimizer_step.py                                  # the table of RESULTS.md, 3 minutes
    python benchmarks/optimizer_step.py --width 576 --mlp 1536 --layers 6

Both optimizers see the same weights, gradients and places (``fsdp=8`` host devices; one of them for the first row) and
write the new weights; five Newton-Schulz steps, float32. Turns alternate in one process and each turn's ratio is kept,
of wall time and of processor time (which other jobs on the machine disturb less).
"""

import argparse
import json
import statistics
import time

import jax


def shapes(width: int, mlp: int, layers: int, vocab: int) -> dict:
    """A Llama-like tree of stacked weights and the logical place of every axis."""
    e, t, L = ("fsdp", "context"), None, layers
    attention = {
        "q": ((L, width, width), (None, e, t)),
        "k": ((L, width, width // 4), (None, e, t)),
        "v": ((L, width, width // 4), (None, e, t)),
        "o": ((L, width, width), (None, t, e)),
    }
    gated = {
        "gate": ((L, width, mlp), (None, e, t)),
        "up": ((L, width, mlp), (None, e, t)),
        "down": ((L, mlp, width), (None, t, e)),
    }
    return {
        "embed": {"embedding": ((vocab, width), (t, e))},
        "norm": {"scale": ((width,), (t,))},
        "blocks": {"0": {"norm_in": {"scale": ((L, width), (None, t))}, "attention": attention, "mlp": gated}},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--mlp", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--turns", type=int, default=5)
    a = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)

    import jax.numpy as jnp
    import optax
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from polaris_jax.optim import apply_updates, label_params, make_optimizer, make_schedule, stored_dtype
    from polaris_jax.sharding import make_mesh

    is_shape = lambda leaf: isinstance(leaf, tuple)  # noqa: E731
    table = shapes(a.width, a.mlp, a.layers, a.vocab)
    mesh = make_mesh({"fsdp": 8})
    spread = jax.tree.map(lambda leaf: NamedSharding(mesh, P(*leaf[1])), table, is_leaf=is_shape)
    params = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(0), leaf[0]), table, is_leaf=is_shape)
    labels, schedule = label_params(params), make_schedule("constant", 1e-3, 100, 0)
    stacked = jax.tree.map(lambda label: optax.contrib.MuonDimensionNumbers(1, 2) if label == "muon" else None, labels)

    def timed(optimizer, sharding):
        """A step as a closure that keeps its own state."""
        held = jax.tree.map(jnp.copy, params)
        held = held if sharding is None else jax.device_put(held, sharding)
        gradients = jax.tree.map(lambda p: 1e-3 * p, held)
        held = [held, jax.jit(optimizer.init)(held)]

        def step(params, state, gradients):
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        step = jax.jit(step, donate_argnums=(0, 1), out_shardings=None if sharding is None else (sharding, None))

        def turn():
            wall, processor = time.perf_counter(), time.process_time()
            held[:] = step(*held, gradients)
            jax.block_until_ready(held)
            return time.perf_counter() - wall, time.process_time() - processor

        turn()
        return turn

    for devices, sharding in ((1, None), (8, spread)):
        ours = timed(make_optimizer(labels, schedule, clip_norm=None, shardings=sharding), sharding)
        theirs = timed(optax.contrib.muon(1e-3, consistent_rms=0.2, muon_weight_dimension_numbers=stacked), sharding)
        turns = [(ours(), theirs()) for _ in range(a.turns)]
        row = {"devices": devices}
        for number, clock in enumerate(("wall", "processor")):
            mine, other = ([turn[who][number] for turn in turns] for who in (0, 1))
            ratios = sorted(x / y for x, y in zip(mine, other, strict=True))
            row[clock] = {
                "ours_s": round(statistics.median(mine), 3),
                "optax_s": round(statistics.median(other), 3),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
        print(json.dumps(row), flush=True)

    count = sum(p.size for p in jax.tree.leaves(params))
    for recipe in ("fp32_master", "stochastic_downcast", "bf16_stochastic"):
        dtype = stored_dtype(recipe)
        optimizer = make_optimizer(labels, schedule, state_dtype=dtype)
        stored = jax.tree.map(lambda p, dtype=dtype: p.astype(dtype), params)
        state = optimizer.init(stored)
        updates, state = optimizer.update(stored, state, stored)
        stored = apply_updates(recipe, stored, updates, jax.random.key(0))
        moved = {
            kind: sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / count
            for kind, tree in (("weights", stored), ("state", state))
        }
        print(
            json.dumps(
                {
                    "recipe": recipe,
                    "state_dtype": dtype.__name__,
                    **{kind: round(size, 3) for kind, size in moved.items()},
                    "sum": round(sum(moved.values()), 3),
                }
            )
        )


if __name__ == "__main__":
    main()
