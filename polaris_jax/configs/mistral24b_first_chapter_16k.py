r"""Mistral Small 24B on plans and first chapters: 16,384 tokens, 64 rows per step, one epoch.

The supervised part of the released first-chapter run (its name: 9 k books, batch 64, one epoch, rate 1e-6 after 25
steps of warm-up, cosine to zero). That was a preference run (ORPO, beta 1); this config trains on references alone.

Hardware: one v6e-64 slice (64 chips), fsdp 64, a row per chip; or v5p-64 (32 chips), fsdp 32:

    polaris plan --config=mistral24b_first_chapter_16k --topology=v6e-64
    polaris plan --config=mistral24b_first_chapter_16k --topology=v5p-64 --config.mesh.fsdp=32

Time and memory by estimate: 8 s a step and 25 GiB per chip on v6e-64, 20 s and 47 GiB on v5p-64; 141 steps. Expected
result: plans and a first chapter in the 24B protocol; no run of this size has been made with this repository.

    polaris build --books 'gs://bucket/novels/*.txt' --tokenizer=/path/to/Mistral-Small-24B-Base-2501 \
        --profile=first_chapter --window=16384 --out=gs://bucket/first_chapters
    polaris train --config=mistral24b_first_chapter_16k --workdir=gs://bucket/runs/first_chapter \
        --config.model.path=/path/to/Mistral-Small-24B-Base-2501 --config.data.store=gs://bucket/first_chapters
"""

from polaris_jax.training import load_config


def get_config():
    """Everything learns, gently: a rate of 1e-6, float32 masters, stochastically rounded copies."""
    config = load_config("base")
    config.model.path = "mistral_small_24b"  # the shape alone, for `polaris plan`
    config.mesh.update({"fsdp": 64, "context": 1})
    config.data.window = 16_384
    config.data.batch_size = 64
    config.optim.state_dtype = "bfloat16"
    config.optim.learning_rate = 1e-6
    config.train.steps = 141
    return config
