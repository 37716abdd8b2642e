"""What load balance is worth: the zigzag ring beside the contiguous ring, forward and backward, on CPU host devices.

    python benchmarks/ring_attention.py [--tokens=16384] [--shards=8] [--heads=2] [--repeats=3]

Both run the same code on the same causal row; only the order of tokens over shards differs, and both skip what no
query sees. A third ring computes every pair of shards, as one without causal skipping does. Two numbers are given:

- wall: the whole ring on this machine. Host devices share its cores, so with fewer cores than shards an idle shard's
  core helps the busy ones, and imbalance hardly shows.
- lockstep: the time of a ring whose shards run side by side. Every hop of every shard is timed alone, and a hop lasts
  as long as its slowest shard: what wall time is on a machine with a core (or a chip) per shard.

With the ``ringattention`` package installed (arXiv 2310.01889; its portable path, contiguous), its wall time follows.
"""

import argparse
import os
import statistics
import time
import types


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=16384)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    a = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    jax.config.update("jax_num_cpu_devices", a.shards)
    import jax.extend
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    from polaris_jax.data.zigzag import zigzag_order
    from polaris_jax.ops import ring_attention, tile_xla
    from polaris_jax.ops.attention import empty_state
    from polaris_jax.ops.tiles import TokenMetadata
    from polaris_jax.sharding import make_mesh

    mesh = make_mesh({"context": a.shards})
    whole = NamedSharding(mesh, P(None, "context"))
    rng = np.random.default_rng(0)
    shape = (1, a.tokens, a.heads, a.head_dim)
    q, k, v, dout = (rng.normal(size=shape).astype(np.float32) for _ in range(4))
    orders = {"contiguous": np.arange(a.tokens), "zigzag": np.asarray(zigzag_order(a.tokens, a.shards))}

    def seconds(run, *args):
        jax.block_until_ready(run(*args))
        times = []
        for _ in range(a.repeats):
            start = time.perf_counter()
            jax.block_until_ready(run(*args))
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    @jax.jit
    def whole_ring(q, k, v, dout, positions):
        segments = jnp.ones_like(positions)
        out, pull = jax.vjp(
            lambda q, k, v: ring_attention(
                q,
                k,
                v,
                q_positions=positions,
                kv_positions=positions,
                q_segments=segments,
                kv_segments=segments,
                mesh=mesh,
                block=a.block,
            ),
            q,
            k,
            v,
        )
        return out, pull(dout)

    @jax.jit
    def one_hop(q, kv, dout, q_positions, kv_positions):
        sides = (
            TokenMetadata(q_positions, jnp.ones_like(q_positions)),
            TokenMetadata(kv_positions, jnp.ones_like(kv_positions)),
        )
        options = {"scale": a.head_dim**-0.5, "window": None, "q_block": a.block, "kv_block": a.block}
        state = tile_xla.forward(q, kv, *sides, empty_state(q), **options)
        return state, tile_xla.backward(q, kv, dout, state.running_max, state.running_max, *sides, state.out, **options)

    def lockstep(order):
        """Seconds of a hop of every shard, the slowest of each hop, summed."""
        shards = np.split(order, a.shards)
        cut = [tuple(jnp.asarray(x[:, shard].transpose(0, 2, 1, 3)) for x in (q, k, v, dout)) for shard in shards]
        total = 0.0
        for hop in range(a.shards):
            total += max(
                seconds(
                    one_hop,
                    cut[i][0],
                    jnp.stack(cut[i - hop][1:3]),
                    cut[i][3],
                    jnp.asarray(shards[i][None], jnp.int32),
                    jnp.asarray(shards[i - hop][None], jnp.int32),
                )
                for i in range(a.shards)
            )
        return total

    wall, steps = {}, {}
    for name, order in orders.items():
        args = [jax.device_put(x[:, order], whole) for x in (q, k, v, dout)]
        positions = jax.device_put(order[None].astype(np.int32), whole)
        wall[name] = seconds(whole_ring, *args, positions)
        steps[name] = lockstep(order)
        print(f"{name}: wall {wall[name]:.3f} s, lockstep {steps[name]:.3f} s", flush=True)
    wall["every pair"] = seconds(whole_ring, *args, jnp.zeros_like(positions))
    print(
        f"every pair computed: wall {wall['every pair']:.3f} s; "
        f"zigzag / every pair {wall['zigzag'] / wall['every pair']:.2f}"
    )
    print(
        f"zigzag / contiguous: wall {wall['zigzag'] / wall['contiguous']:.2f} on {os.cpu_count()} cores, "
        f"lockstep {steps['zigzag'] / steps['contiguous']:.2f}"
    )

    # The package asks for the backend under a name that newer versions of JAX have moved.
    jax.lib.xla_bridge = types.SimpleNamespace(get_backend=jax.extend.backend.get_backend)
    try:
        from ringattention import ringattention_jax
    except (ImportError, AttributeError) as error:
        print(f"ringattention package: not run ({error})")
        return
    spec = P(None, "context")
    options = {
        "causal_block_size": 1,
        "deterministic": True,
        "dropout_rng": None,
        "attn_pdrop": 0.0,
        "query_chunk_size": a.block,
        "key_chunk_size": a.block,
        "dtype": jnp.float32,
        "policy": jax.checkpoint_policies.nothing_saveable,
        "precision": None,
        "prevent_cse": False,
    }
    other = jax.shard_map(
        lambda q, k, v, ids: ringattention_jax(q, k, v, None, ids, None, "context", True, options),
        mesh=mesh,
        in_specs=(spec,) * 4,
        out_specs=spec,
        check_vma=False,
    )

    @jax.jit
    def other_ring(q, k, v, dout):
        out, pull = jax.vjp(lambda q, k, v: other(q, k, v, jnp.ones((1, a.tokens), jnp.int32)), q, k, v)
        return out, pull(dout)

    other_wall = seconds(other_ring, *(jax.device_put(x, whole) for x in (q, k, v, dout)))
    print(f"ringattention package: wall {other_wall:.3f} s; ours zigzag / theirs {wall['zigzag'] / other_wall:.2f}")


if __name__ == "__main__":
    main()
