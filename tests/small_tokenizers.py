"""A byte-level BPE that is trained in a moment, in Hugging Face's format."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers


def save_byte_level(folder: Path, texts: Sequence[str], size: int, special: Sequence[str]) -> Path:
    """Trains on ``texts`` without a space before the first word; returns ``folder/tokenizer.json``."""
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    engine.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"
