r"""Ministral 3 14B on whole books on v5p: ministral3_14b_books_262k on another mesh.

262,144 tokens and 24 rows per step, as there; the numbers of the run are the same.

Hardware: one v5p-128 slice (64 chips), fsdp 8 × context 8, or v5p-256 and -512 with context 16 and 32:

    polaris plan --config=ministral3_14b_books_262k_v5p --topology=v5p-128
    polaris plan --config=ministral3_14b_books_262k_v5p --topology=v5p-256 --config.mesh.context=16

or two of them over the data-centre network, with the same rows per step (docs/launch.md, "Several slices"):

    polaris plan --config=ministral3_14b_books_262k_v5p --topology=v5p-128 --slices=2 \
        --config.mesh.data=2 --config.mesh.fsdp=4 --config.mesh.context=16

Time and memory by estimate: 143 s a step (a day in all; 96 s at least) and 31 GiB per chip on v5p-128. Expected result:
as for v6e.

    polaris train --config=ministral3_14b_books_262k_v5p --workdir=gs://bucket/runs/books_262k \
        --config.model.path=/path/to/staged --config.data.store=gs://bucket/books
"""

from polaris_jax.training import load_config


def get_config():
    """The v6e run on an eight-fold context axis."""
    config = load_config("ministral3_14b_books_262k")
    config.mesh.update({"fsdp": 8, "context": 8})
    config.train.checkpoint_every = 5  # a step takes minutes: no more than five are done again after a preemption
    return config
