"""A vocabulary of a few hundred pieces, two random models, and one book that several tests look at."""

import sys
from pathlib import Path

import pytest

from polaris_jax.data import train_sentencepiece

sys.path.insert(0, str(Path(__file__).parent))

from sampling_models import TEXT, random_model


@pytest.fixture(scope="session")
def tokenizer():
    return train_sentencepiece([TEXT] * 4, 420)


@pytest.fixture(scope="session")
def model(tokenizer):
    return random_model(tokenizer.vocab_size)


@pytest.fixture(scope="session")
def hybrid(tokenizer):
    return random_model(tokenizer.vocab_size, "qwen3_5_text")
