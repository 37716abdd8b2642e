"""Wall and processor time of one training step, and of its parts, on this machine's CPU.

    python benchmarks/train_step.py --devices=4 --window=2048 [--tiny] [--remat=dots] [--steps=3]

The model is SmolLM2-135M's shape (or the demo's tiny one) with random weights: the arithmetic does not depend on them.
"""

import argparse
import resource
import statistics
import time

import jax

SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49_155,
    "rope_theta": 100_000.0,
}
TINY = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
    "rope_theta": 10_000.0,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--window", type=int, default=2048)
    parser.add_argument("--remat", default="dots")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--newton-schulz-steps", type=int, default=5)
    parser.add_argument("--tiny", action="store_true")
    a = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", a.devices)

    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding

    from polaris_jax.data.loader import FIELDS
    from polaris_jax.data.zigzag import zigzag_order
    from polaris_jax.models import ModelConfig, abstract_params, init_params
    from polaris_jax.models.weights import param_shardings
    from polaris_jax.optim import label_params, make_optimizer, make_schedule
    from polaris_jax.sharding import activation_spec, make_mesh
    from polaris_jax.training.config import TrainConfig, replace
    from polaris_jax.training.state import abstract_state, initial_state
    from polaris_jax.training.step import make_train_step

    model = ModelConfig.from_hf(
        {
            "model_type": "llama",
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "max_position_embeddings": 8192,
            **(TINY if a.tiny else SMOLLM2),
        }
    )
    config = replace(
        TrainConfig(), {"model.compute_dtype": "float32", "model.remat": a.remat, "model.attention_block": 128}
    )
    mesh = make_mesh({"context": a.devices})
    labels = label_params(abstract_params(model, jnp.float32))
    schedule = make_schedule("constant", 1e-3, 100, 0)
    optimizer = make_optimizer(
        labels,
        schedule,
        shardings=param_shardings(model, mesh) if mesh.size > 1 else None,
        newton_schulz_steps=a.newton_schulz_steps,
    )
    state = initial_state(
        init_params(model, jax.random.key(0), jnp.float32, mesh),
        optimizer,
        abstract_state(model, optimizer, mesh, jnp.float32),
    )
    rng = np.random.default_rng(0)
    batch = {name: np.zeros((1, a.window), dtype) for name, dtype in FIELDS.items()}
    batch["tokens"] = batch["targets"] = rng.integers(0, model.vocab_size, (1, a.window)).astype(np.int32)
    batch["weights"] += 1
    batch["segment_ids"] += 1
    batch["positions"] = zigzag_order(a.window, a.devices).astype(np.int32)[None]
    batch = jax.device_put(batch, NamedSharding(mesh, activation_spec(("batch", "sequence"))))

    started = time.perf_counter()
    step = make_train_step(config, model, mesh, optimizer, schedule).lower(state, batch).compile()
    print(f"compiled in {time.perf_counter() - started:.1f} s")
    walls, processors = [], []
    for _ in range(a.steps):
        wall, processor = time.perf_counter(), time.process_time()
        state, metrics = step(state, batch)
        jax.block_until_ready((state, metrics))
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    print(
        f"step: {statistics.median(walls):.2f} s wall ({min(walls):.2f}-{max(walls):.2f}), "
        f"{statistics.median(processors):.1f} s processor, {a.window / statistics.median(walls):.0f} tokens/s, "
        f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()
