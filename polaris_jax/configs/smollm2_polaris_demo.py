"""SmolLM2-135M-Instruct learns to keep to a requested length: GRPO with human references, programmatic rewards.

Hardware: 2 CPU cores, about 5 GB of memory, float32.
Time and result: see benchmarks/RESULTS.md ("Post-training, the SmolLM2 demo").
Command, after `polaris demo` has made the model:

    polaris rl --config=smollm2_polaris_demo --workdir=runs/smollm2_polaris \
        --config.model.path=runs/demo/model

Passages of the bundled novel are the references; the held-out prompts come from its last quarter. The judge is the
offline one: it is no measure of quality and exercises the path that a real judge takes.
"""

from importlib.resources import files

from polaris_jax.rl import default_rl_config


def get_config():
    """Short targets, small groups; everything else is the recipe's."""
    config = default_rl_config()
    novel = str(files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt")
    config.model.update(
        {"path": "runs/demo/model", "compute_dtype": "float32", "remat": "none", "attention_block": 256}
    )
    config.loss.chunk = 512
    config.data.update(
        {
            "kind": "passages",
            "train": novel,
            "validation": novel,
            "words": (5, 25),
            "max_prompt_tokens": 64,
            "validation_limit": 48,
        }
    )
    config.rollout.update(
        {
            "max_tokens": 56,
            "top_p": 1.0,
            "top_k": 0,
            "repetition_penalty": 1.0,
            "slots": 16,
            "validation_temperature": 1.0,
            "validation_top_p": 1.0,
            "validation_repetition_penalty": 1.0,
        }
    )
    config.rl.update({"prompts_per_step": 3, "group_size": 5, "window": 256, "micro_windows": 2})
    config.rl.human_reference.update({"peak": 0.4, "warmup": 3})
    config.optim.update({"learning_rate": 4e-5, "warmup": 2})
    # Bands and penalties of the recipe, scaled from thousands of words to tens.
    config.rewards.length.update({"min_words": 5})
    config.rewards.length.lower.update({"share": 0.1, "least": 1, "most": 6})
    config.rewards.length.upper.update({"share": 0.1, "least": 1, "most": 6})
    config.rewards.update({"length_weight": 1.0, "length_reward_weight": 0.5})
    config.judge.update({"kind": "offline"})
    config.train.update({"steps": 18, "checkpoint_every": 6, "keep_checkpoints": 1})
    config.validation.update({"every": 18, "distributions": True})
    return config
