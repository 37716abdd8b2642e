"""Every field that ``polaris rl`` accepts is read by some run, or refused before one starts."""

from importlib.resources import files

import config_reads
import jax
import numpy as np

from polaris_jax.rl import post_train
from polaris_jax.rl.config import RlConfig, judge_spec, rl_config
from polaris_jax.rl.groups import group_requests
from polaris_jax.rl.tasks import RlTask

NOVEL = str(files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt")
# For supervised training only; another value than the default is refused (``tests/rl/test_rl_loop.py``).
REFUSED = ("loss.z_loss", "mesh.slices", "train.microbatches")


def test_no_field_of_a_post_training_config_is_accepted_and_never_read(make_config, tmp_path):
    def passages():
        config = make_config()
        config.data.update({"kind": "passages", "train": NOVEL, "words": (4, 12), "max_prompt_tokens": 200, "limit": 4})
        config.rollout.max_tokens = 48
        config.rl.window = 256
        config.rewards.length.min_words = 1
        config.train.update({"steps": 2, "checkpoint_every": 1})
        return config

    grpo = passages()
    grpo.judge.kind = "offline"
    grpo.data.update({"validation": NOVEL, "validation_limit": 1})
    grpo.rl.update({"kl_coef": 0.1, "epochs": 2})
    grpo.rl.human_reference.update({"warmup": 0, "decay": 2})
    grpo.rl.cloning.update({"peak": 0.1, "warmup": 0, "decay": 2})
    grpo.rl.auto_weights.update({"components": ("self_rep", "length_pen"), "update_every": 1, "min_points": 1})
    orpo = passages()
    orpo.rl.objective = "orpo"
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "the lamp", "chosen": "was lit", "rejected": "a hill"}\n')
    dpo = passages()
    dpo.data.update({"kind": "pairs", "train": str(tmp_path / "pairs.jsonl")})
    dpo.rl.objective = "dpo"
    asked = passages()
    asked.judge.update({"kind": "llm", "provider": "openai", "model": "judge"})
    prompt = np.zeros(2, np.int32)
    thinking = RlTask("0", prompt, "prompt", 0, human_reference=prompt, thoughts=prompt)
    one = jax.devices()[:1]
    with config_reads.recorded(RlConfig) as found:
        for name, config in (("grpo", grpo), ("orpo", orpo), ("dpo", dpo)):
            assert post_train(config, tmp_path / name, devices=one).finished
        # These read what only a model as judge, and only tasks with reasoning, need.
        judge_spec(rl_config(asked), "replies")
        group_requests([thinking], rl_config(asked), True)
    # ``RewardSpec`` is used by other verbs too; its fields have tests of their own (``tests/rewards``).
    left = [name for name in config_reads.unread(RlConfig, found) if not name.startswith(("rewards.", *REFUSED))]
    assert ", ".join(left) == ""
