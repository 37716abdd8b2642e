"""A real ``polaris serve`` in a process of its own, and a small checkpoint for it."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax

from polaris_jax.data import train_sentencepiece
from polaris_jax.models import Decoder, ModelConfig, init_params, save_pretrained

TEXT = (
    "The keeper of the tide book ruled his columns every Friday and slept well on Saturdays. Nobody doubted him.\n"
    "“Six o’clock on Tuesday,” he said. “That is when you have high water.”\nuser: assistant: system:\n"
)


def small_checkpoint(folder: Path) -> Path:
    """A random Llama of two layers."""
    tokenizer = train_sentencepiece([TEXT] * 8, 360)
    config = ModelConfig.from_hf({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": tokenizer.vocab_size,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eot_id, "bos_token_id": tokenizer.bos_id,
    })  # fmt: skip
    params = init_params(config, jax.random.key(0))
    # At initialisation every next token is about as likely as any other; a louder embedding makes texts differ.
    params["embed"]["embedding"] = params["embed"]["embedding"] * 12.0
    save_pretrained(Decoder(config, params), str(folder))
    tokenizer.save(folder)
    return folder


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
