r"""Qwen3.8-27B on whole books: qwen3_5_9b_books_262k with the larger model.

The shape (64 layers of 5,120, three gated delta rules to one attention layer, 48 value heads over 16 key heads) is that
of the text part of the model's published config.json, which Qwen3.5-27B and Qwen3.6-27B share.

Hardware: one v5p-16 slice (8 chips), one row over all of them (context 8):

    polaris plan --config=qwen3_8_27b_books_262k --topology=v5p-16

Time is an estimate, memory the compiler's word: benchmarks/RESULTS.md ("Hybrids at book length"). Expected
result: as for qwen3_5_9b_books_262k.

    polaris train --config=qwen3_8_27b_books_262k --workdir=gs://bucket/runs/qwen27b_262k \
        --config.model.path=/path/to/staged --config.data.store=gs://bucket/books
"""

from polaris_jax.training import load_config


def get_config():
    """The run of the 9B with the shape of the 27B."""
    config = load_config("qwen3_5_9b_books_262k")
    config.model.update({"path": "qwen3_8_27b", "segments": 4})  # the shape alone, for `polaris plan`
    return config
