r"""Ministral 3 14B on whole books: full-parameter SFT at 262,144 tokens, the recipe of the paper (batch 24, here 32).

Hardware: one v6e-256 slice (256 chips), mesh context 8 × fsdp 32: 32 rows per step. `polaris plan` says what it takes:

    polaris plan --config=configs/ministral3_14b_books_262k.py --topology=v6e-256

Smaller slices, one row each (the batch is made of microbatches or left small):

    --topology=v5p-8   --config.mesh.fsdp=1 --config.mesh.context=4 --config.data.batch_size=1
    --topology=v5p-128 --config.mesh.fsdp=4 --config.mesh.context=16 --config.data.batch_size=4

Time and memory: benchmarks/RESULTS.md ("Plans"). Expected result: a model that plans and writes a book from a
prompt; no loss is claimed here, since no run of this size has been made with this repository.
Training needs the weights and a store (`polaris build`):

    polaris train --config=configs/ministral3_14b_books_262k.py --workdir=runs/books_262k \
        --config.model.path=/path/to/Ministral-3-14B-Base --config.data.store=gs://bucket/books
"""

from pathlib import Path

from polaris_jax.training import default_config


def get_config():
    """Muon at 2e-5 with 25 steps of warm-up and cosine decay; float32 masters, stochastically rounded copies."""
    config = default_config()
    # Only the shape, so that `polaris plan` works from a fresh checkout; training wants a folder with weights.
    config.model.path = str(Path(__file__).parent / "models" / "ministral3_14b")
    config.model.remat = "attention"
    config.model.attention_block = 1024
    config.model.segments = 8
    config.model.mlp_chunk = 2048
    config.mesh.update({"fsdp": 32, "context": 8})
    config.data.window = 262_144
    config.data.batch_size = 32
    config.data.overlong = "drop"
    config.optim.precision = "stochastic_downcast"
    config.optim.state_dtype = "bfloat16"
    config.optim.learning_rate = 2e-5
    config.optim.warmup = 25
    config.train.steps = 300
    return config
