"""Tiny policies over a vocabulary of letters, and configs that post-train them in seconds."""

from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from polaris_jax.data import load_tokenizer, train_sentencepiece
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained
from polaris_jax.rl import default_rl_config

TEMPLATE = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|stop_header_id|>' + m.content + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|stop_header_id|>' }}{% endif %}"
)
WORDS = "a lamp on the hill was lit and the doctor came down to read the letter by the river in the rain"


@pytest.fixture(scope="session")
def policy(tmp_path_factory) -> Path:
    """A Hugging Face folder: 2 layers, 32 wide, random weights, a chat template."""
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = train_sentencepiece([WORDS] * 4, 300)
    tokenizer.save(folder)
    tokenizer = load_tokenizer(folder)
    config = ModelConfig.from_hf({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": True,
    })
    save_pretrained(Decoder(config, init_params(config, jax.random.key(0))), str(folder))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def make_config(policy) -> Callable[[], ConfigDict]:
    """Fresh configs on one device: 2 prompts of 4 rows, 16 tokens, no judge, no truncation of the distribution."""

    def make():
        config = default_rl_config()
        config.seed = 1
        config.model.update({"path": str(policy), "compute_dtype": "float32", "attention_block": 32, "remat": "full"})
        config.mesh.update({"context": 1, "fsdp": 1})
        config.data.update({"max_prompt_tokens": 48})
        config.rollout.update({"max_tokens": 16, "slots": 4, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0})
        config.rl.update({"prompts_per_step": 2, "group_size": 4, "window": 64})
        config.rl.reference.update({"warmup": 0})
        config.optim.update({"learning_rate": 1e-2, "weight_decay": 0.0})
        config.judge.kind = "none"
        config.train.update({"steps": 3, "checkpoint_every": 1})
        return config

    return make
