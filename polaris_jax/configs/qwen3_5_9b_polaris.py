"""POLARIS on Qwen3.5-9B: the paper's recipe as intended, the human reference really in the group (arXiv 2606.04095).

173 steps of 8 prompts x 6 rows (5 rollouts and the human story once its weight is above 0), prompts of at most 256 and
responses of at most 8,192 tokens; the reference's weight rises from 0 to 0.4 over 15 steps. Full fine-tuning with AdamW
at 1e-6, clip 0.20/0.28, dual clip 3, token mean over the whole step, no divergence term. Rewards and judge are
``rewards.RewardSpec`` and ``config.judge`` at their defaults (Gemini 3 Flash, rubric of 16 dimensions).

Hardware: one host, v5p-8 (4 chips) or v6e-8 (8 chips). Pairs of chips share a window (``context`` 2), which then holds
two of the longest rows: fewer and longer windows, and a choice of lengths, leave less padding.
The published run took about 48 hours on four A100 80 GB. No run of this size has been made with this repository; no
result is claimed.
Differences from the release: sampler/learner importance weights (limit 2; set 0 for none), a floor under the spread
and a limit on references' advantages, failed judgements leave their group. ``--config.rl.as_released=True`` is the
released trainer's behaviour instead, its inert references included.

    polaris rl --config=qwen3_5_9b_polaris --workdir=runs/polaris \
        --config.model.path=/path/to/Qwen3.5-9B --config.data.train=train.jsonl --config.data.validation=test.jsonl

Rows: the published schema with a story (and ``ground_truth_reasoning``, since thinking is on); the key of the judge is
read from GEMINI_API_KEY. About 8,300 judge calls for rollouts; a reference is judged once, ever.
"""

from polaris_jax.rl import default_rl_config


def get_config():
    """The recipe's numbers are the defaults of ``rl.default_rl_config``; here are the model, the mesh and the judge."""
    config = default_rl_config()
    config.model.update({"path": "qwen3_5_9b", "compute_dtype": "bfloat16", "remat": "full"})
    config.mesh.update({"data": 1, "fsdp": -1, "context": 2, "tensor": 1})
    config.data.update({"train": "data/polaris/train.jsonl", "validation": "data/polaris/test.jsonl"})
    config.rollout.cache_dtype = "bfloat16"
    config.rl.update({"thinking": True, "window": 16_896, "window_sizes": 16, "micro_windows": 1})
    config.judge.update({"kind": "llm", "provider": "gemini", "model": "gemini-3-flash-preview", "concurrency": 32})
    return config
