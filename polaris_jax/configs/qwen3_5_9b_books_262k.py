r"""Qwen3.5-9B on whole books: full-parameter SFT at 262,144 tokens, one row over a ``context`` axis.

Three of four layers are gated delta rules, whose state passes from shard to shard, so a token costs far less than in a
dense model of the size, and the longer the row the more so. Muon moves the matrices, QK-clip is at 85.

Hardware: one v5p-8 slice (4 chips), or one v6e-8 (8 chips):

    polaris plan --config=qwen3_5_9b_books_262k --topology=v5p-8
    polaris plan --config=qwen3_5_9b_books_262k --topology=v6e-8

Time is an estimate, memory the compiler's word: benchmarks/RESULTS.md ("Hybrids at book length"). Expected
result: a model that plans and writes a book from a prompt; no loss is claimed here, since no run of this size has been
made with this repository.

    polaris convert /path/to/Qwen3.5-9B /path/to/staged --to=hf --stage-tokens
    polaris build --books 'gs://bucket/novels/*.txt' --tokenizer=/path/to/staged --profile=full --out=gs://bucket/books
    polaris train --config=qwen3_5_9b_books_262k --workdir=gs://bucket/runs/qwen_262k \
        --config.model.path=/path/to/staged --config.data.store=gs://bucket/books
"""

from polaris_jax.training import load_config


def get_config():
    """bfloat16 weights and momenta with stochastically rounded updates: 4 bytes of state per parameter."""
    config = load_config("base")
    config.model.update({"path": "qwen3_5_9b", "segments": 4, "mlp_chunk": 2048})  # the shape alone, for `polaris plan`
    config.model.context_method = "ring"
    config.model.remat = "full"
    config.mesh.update({"context": -1})
    config.data.window = 262_144
    config.data.batch_size = 1
    config.optim.precision = "bf16_stochastic"
    config.optim.state_dtype = "bfloat16"
    config.optim.learning_rate = 1e-5
    config.optim.qk_clip = 85.0
    config.train.update({"steps": 200, "checkpoint_every": 10})  # a step takes more than a minute
    return config
