r"""Ministral 3 14B on whole books on v5p: configs/ministral3_14b_books_262k.py on another mesh.

262,144 tokens and 24 rows per step, as there; the numbers of the run are the same.

Hardware: one v5p-128 slice (64 chips), fsdp 8 × context 8, or v5p-256 and -512 with context 16 and 32:

    polaris plan --config=configs/ministral3_14b_books_262k_v5p.py --topology=v5p-128
    polaris plan --config=configs/ministral3_14b_books_262k_v5p.py --topology=v5p-256 --config.mesh.context=16

Time and memory by estimate: 141 s a step (a day in all) and 31 GiB per chip on v5p-128. Expected result: as for v6e.

    polaris train --config=configs/ministral3_14b_books_262k_v5p.py --workdir=gs://bucket/runs/books_262k \
        --config.model.path=/path/to/Ministral-3-14B-Base --config.data.store=gs://bucket/books
"""

from pathlib import Path

from polaris_jax.training import load_config


def get_config():
    """The v6e run on an eight-fold context axis."""
    config = load_config(Path(__file__).with_name("ministral3_14b_books_262k.py"))
    config.mesh.update({"fsdp": 8, "context": 8})
    config.train.checkpoint_every = 5  # a step takes minutes: no more than five are done again after a preemption
    return config
