"""One tokenizer of each format, and a small store."""

import pytest
from data_toys import LENGTHS, TEXT, WORDS, make_trajectory, train_byte_level, train_metaspace

from polaris_jax.data import TokenStore, add_stage_tokens, load_tokenizer, train_sentencepiece


@pytest.fixture(scope="session")
def vocabularies(tmp_path_factory):
    """Format name → tokenizer."""
    root = tmp_path_factory.mktemp("tokenizers")
    reuse = ["<spare_0>", "<spare_1>", "<spare_2>"]
    return {
        "byte_level": add_stage_tokens(train_byte_level(root / "plain"), root / "byte_level", reuse=reuse),
        "merging_lines": add_stage_tokens(train_byte_level(root / "cut", words=WORDS), root / "merging_lines"),
        "metaspace": load_tokenizer(train_metaspace(root / "metaspace")),
        "sentencepiece": train_sentencepiece([TEXT], 350, root / "sentencepiece"),
    }


@pytest.fixture(scope="session")
def tokenizer(vocabularies):
    return vocabularies["sentencepiece"]


@pytest.fixture(scope="session")
def trajectories():
    return [make_trajectory(length, seed) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="session")
def store(tmp_path_factory, tokenizer, trajectories):
    """Thirteen trajectories; every third one is validation."""
    writer = TokenStore.create(tmp_path_factory.mktemp("store") / "books", tokenizer)
    for number, trajectory in enumerate(trajectories):
        writer.append(trajectory, {"title": f"Book {number}", "split": "train" if number % 3 else "validation"})
    return writer.commit()
