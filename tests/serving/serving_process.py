"""A real ``polaris serve`` in a process of its own, and a small checkpoint for it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import tokenizers

from polaris_jax.data import train_sentencepiece
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained

TEXT = (
    "The keeper of the tide book ruled his columns every Friday and slept well on Saturdays. Nobody doubted him.\n"
    "“Six o’clock on Tuesday,” he said. “That is when you have high water.”\nuser: assistant: system:\n"
)


def small_checkpoint(folder: Path) -> Path:
    """A random Llama of two layers."""
    tokenizer = train_sentencepiece([TEXT] * 8, 360)
    save_small_model(folder, tokenizer.vocab_size, tokenizer.eot_id, tokenizer.bos_id)
    tokenizer.save(folder)
    return folder


def plain_checkpoint(folder: Path) -> Path:
    """The same in the form of other people's releases: a byte-level BPE, ChatML, and no stage tokens."""
    bpe = tokenizers.ByteLevelBPETokenizer()
    bpe.train_from_iterator([TEXT] * 8, 300, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    save_small_model(folder, bpe.get_vocab_size(), 0, None)
    bpe.save(str(folder / "tokenizer.json"))
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    settings = {"eos_token": "<|endoftext|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 0], "temperature": 0.0}))
    return folder


def save_small_model(folder: Path, vocab_size: int, eos: int, bos: int | None) -> None:
    """The weights and ``config.json``."""
    config = ModelConfig.from_hf(
        {
            "model_type": "llama",
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": vocab_size,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "eos_token_id": eos,
            "bos_token_id": bos,
        }
    )
    params = init_params(config, jax.random.key(0))
    # At initialisation every next token is about as likely as any other; a louder embedding makes texts differ.
    params["embed"]["embedding"] = params["embed"]["embedding"] * 12.0
    save_pretrained(Decoder(config, params), str(folder))


@dataclass(frozen=True)
class Server:
    url: str
    process: subprocess.Popen


@contextlib.contextmanager
def running(checkpoint: Path, *flags: str, **environment: str) -> Iterator[Server]:
    """``polaris serve`` at a free port."""
    command = [sys.executable, "-m", "polaris_jax.cli", "serve", "--checkpoint", str(checkpoint), "--port", "0", *flags]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    words = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe that nobody reads would fill up
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, env=environment)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if " at http" in line:
                yield Server(line.split(" at ")[1].split("/v1")[0], process)
                break
        else:
            words.seek(0)
            raise AssertionError(f"it did not start: {''.join(said)} {words.read()[-2000:]}")
    finally:
        process.kill()
        process.wait()
        words.close()
