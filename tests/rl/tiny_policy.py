"""A policy of 2 layers over a vocabulary of letters, and configs that post-train it in seconds."""

from pathlib import Path

from ml_collections import ConfigDict
from small_models import save_small_llama

from polaris_jax.data import load_tokenizer, train_sentencepiece
from polaris_jax.rl import default_rl_config

TEMPLATE = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|stop_header_id|>' + m.content + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|stop_header_id|>' }}{% endif %}"
)
WORDS = "a lamp on the hill was lit and the doctor came down to read the letter by the river in the rain"


def make_policy(folder: Path) -> Path:
    """A Hugging Face folder: 2 layers, 32 wide, random weights, a chat template."""
    folder.mkdir(parents=True, exist_ok=True)
    train_sentencepiece([WORDS] * 4, 300).save(folder)
    save_small_llama(folder, load_tokenizer(folder).vocab_size, 256)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def tiny_config(policy: Path) -> ConfigDict:
    """On one device: 2 prompts of 4 rows, 16 tokens, no judge, no truncation of the distribution."""
    config = default_rl_config()
    config.seed = 1
    config.model.update({"path": str(policy), "compute_dtype": "float32", "attention_block": 32, "remat": "full"})
    config.mesh.update({"context": 1, "fsdp": 1})
    config.data.update({"train": "read by no test that does not say which", "max_prompt_tokens": 48})
    config.rollout.update({"max_tokens": 16, "slots": 4, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0})
    config.rl.update({"prompts_per_step": 2, "group_size": 4, "window": 64})
    config.rl.human_reference.update({"warmup": 0})
    config.optim.update({"learning_rate": 1e-2, "weight_decay": 0.0})
    config.judge.kind = "none"
    config.train.update({"steps": 3, "checkpoint_every": 1})
    return config
