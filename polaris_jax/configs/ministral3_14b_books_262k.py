r"""Ministral 3 14B on whole books: the second stage of the paper's recipe, 262,144 tokens, 24 rows per step.

Attention and the gates of the MLP learn, everything else stays (arXiv 2605.17064 and the released run's name: rate
2e-5, 25 steps of warm-up, cosine to zero, QK-clip at 85, six epochs of 649.1 M tokens = 619 steps).

Hardware: one v6e-256 slice (256 chips), fsdp 8 × context 32; the 24 rows pass in three parts of eight:

    polaris plan --config=ministral3_14b_books_262k --topology=v6e-256

For v5p see ministral3_14b_books_262k_v5p. Smaller slices, with a batch of one row:

    polaris plan --config=ministral3_14b_books_262k --topology=v5p-8 --config.mesh.fsdp=1 \
        --config.mesh.context=4 --config.data.batch_size=1 --config.train.microbatches=1

Time and memory by estimate: 30 s a step (five hours in all; 20 s at least) and 11 GiB per chip; measured by the
compiler: benchmarks/RESULTS.md ("Plans"). Expected result: a model that plans and writes a book from a prompt; no loss
is claimed here, since no run of this size has been made with this repository. Training needs the weights, with the
stage tokens in their vocabulary, and a store:

    polaris convert /path/to/Ministral-3-14B-Base /path/to/staged --to=hf --stage-tokens
    polaris build --books 'gs://bucket/novels/*.txt' --tokenizer=/path/to/staged --profile=full --out=gs://bucket/books
    polaris train --config=ministral3_14b_books_262k --workdir=gs://bucket/runs/books_262k \
        --config.model.path=/path/to/staged --config.data.store=gs://bucket/books
"""

from polaris_jax.optim import ATTENTION_AND_GATES
from polaris_jax.training import load_config


def get_config():
    """Muon at 2e-5 on attention and gates; float32 masters, stochastically rounded copies."""
    config = load_config("base")
    # Only the shape, so that `polaris plan` works from a fresh checkout; training wants a folder with weights.
    config.model.path = "ministral3_14b"
    config.model.segments = 8
    config.model.mlp_chunk = 2048
    config.mesh.update({"fsdp": 8, "context": 32})
    config.data.window = 262_144
    config.data.batch_size = 24
    config.optim.state_dtype = "bfloat16"
    config.optim.learning_rate = 2e-5
    config.optim.groups = ATTENTION_AND_GATES
    config.optim.qk_clip = 85.0
    config.train.microbatches = 3
    config.train.steps = 619
    return config
