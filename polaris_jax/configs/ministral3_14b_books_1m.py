r"""Ministral 3 14B on series and long novels: full-parameter SFT at 1,048,576 tokens.

Hardware: one v5p-128 slice (64 chips), one row over all of them (context 64). `polaris plan` says what it takes:

    polaris plan --config=ministral3_14b_books_1m --topology=v5p-128

The smallest slice that holds such a row is v5p-16 (8 chips), with attention run a second time in the backward pass:

    polaris plan --config=ministral3_14b_books_1m --topology=v5p-16 --config.model.remat=full \
        --config.model.context_method=ring

Time and memory: benchmarks/RESULTS.md ("Plans"). Expected result: as for ministral3_14b_books_262k,
continued from its checkpoint; no run of this size has been made with this repository.

    polaris train --config=ministral3_14b_books_1m --workdir=runs/books_1m \
        --config.model.path=/path/to/checkpoint --config.data.store=gs://bucket/books
"""

from polaris_jax.training import load_config


def get_config():
    """bfloat16 weights and momenta with stochastically rounded updates: 4 bytes of state per parameter."""
    config = load_config("base")
    config.model.path = "ministral3_14b"  # the shape alone, for `polaris plan`
    config.model.segments = 8
    config.model.mlp_chunk = 2048
    config.model.context_method = "two_level"  # eight neighbours exchange heads: a sixth of a ring's traffic
    config.mesh.update({"context": -1})
    config.data.window = 1_048_576
    config.data.batch_size = 1
    config.optim.precision = "bf16_stochastic"
    config.optim.state_dtype = "bfloat16"
    config.optim.learning_rate = 1e-5
    config.train.update({"steps": 200, "checkpoint_every": 10})  # a step takes more than a minute
    return config
