"""A vocabulary of a few hundred pieces, two random models, and one book that several tests look at."""

import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from polaris_jax.data import train_sentencepiece
from polaris_jax.models import Decoder, save_pretrained

sys.path.insert(0, str(Path(__file__).parent))

from sampling_models import PROMPT, TEXT, TINY, random_model, small_sampler

from polaris_jax.sampling.writer import write_book
from polaris_jax.training import Checkpoints, TrainState


@pytest.fixture(scope="session")
def tokenizer():
    return train_sentencepiece([TEXT] * 4, 420)


@pytest.fixture(scope="session")
def model(tokenizer):
    return random_model(tokenizer.vocab_size)


@pytest.fixture(scope="session")
def checkpoint(model, tokenizer, tmp_path_factory):
    """``model`` and ``tokenizer`` as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    params, config = model
    save_pretrained(Decoder(config, params), str(folder))
    tokenizer.save(str(folder))
    return folder


@pytest.fixture(scope="session")
def run(checkpoint, model, tmp_path_factory):
    """A training run with one checkpoint, whose weights are those of ``checkpoint`` doubled."""
    folder = tmp_path_factory.mktemp("run")
    shutil.copytree(checkpoint, folder / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "run.json").write_text(json.dumps({"stored_dtype": "float32"}))
    checkpoints = Checkpoints(folder, asynchronous=False)
    doubled = jax.tree.map(lambda x: 2 * x, model[0])
    checkpoints.save(3, TrainState(jnp.int32(3), doubled, {"momentum": jnp.zeros(1)}), {})
    checkpoints.wait()
    checkpoints.close()
    return folder


@pytest.fixture(scope="session")
def hybrid(tokenizer):
    return random_model(tokenizer.vocab_size, "qwen3_5_text")


@pytest.fixture(params=["model", "hybrid"])
def any_model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def written(model, tokenizer, tmp_path_factory):
    """``(folder, book, events)`` of a finished book that nobody may change."""
    folder, events = tmp_path_factory.mktemp("book"), []
    book = write_book(small_sampler(model, tokenizer), PROMPT, TINY, seed=3, out_dir=folder, progress=events.append)
    return folder, book, events
