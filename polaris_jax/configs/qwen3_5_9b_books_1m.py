r"""Qwen3.5-9B on series and long novels: qwen3_5_9b_books_262k at 1,048,576 tokens.

Hardware: one v5p-16 slice (8 chips), one row over all of them (context 8):

    polaris plan --config=qwen3_5_9b_books_1m --topology=v5p-16

Time is an estimate, memory the compiler's word: benchmarks/RESULTS.md ("Hybrids at book length"). Expected
result: as for qwen3_5_9b_books_262k,
continued from its checkpoint; no run of this size has been made with this repository.

    polaris train --config=qwen3_5_9b_books_1m --workdir=gs://bucket/runs/qwen_1m \
        --config.model.path=/path/to/checkpoint --config.data.store=gs://bucket/books
"""

from polaris_jax.training import load_config


def get_config():
    """The run at 262,144 tokens with a row four times as long."""
    config = load_config("qwen3_5_9b_books_262k")
    config.data.window = 1_048_576
    return config
