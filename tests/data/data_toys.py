"""A little corpus, tokenizers trained on it, and random trajectories."""

import json
from pathlib import Path

import numpy as np
import tokenizers

from polaris_jax.data import Trajectory

TEXT = """The lamp in the signal house went out at nine, and nobody in the village remarked on it until ten.

“You saw it burning?” asked the harbour master. He did not look up from the ledger.

“I saw it burning at a quarter to,” said Ines. “Then the fog came in, and after that I saw nothing at all.”

### Chapter 1: The Signal House
**Word Count:** 250
**Narrative Focuses:** the lamp; the ledger; what Ines will not say
- Ines denies that she climbed the stairs.
- The harbour master writes the hour in the wrong column, and she lets him.

```
It was a cold house. The stairs were stone, the rail was iron, and the oil was kept in a can behind the door...
```
"""


# Newer vocabularies split text into words so that newlines stay with the punctuation before them.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_byte_level(folder: Path, *, size: int = 400, words: str | None = None) -> Path:
    """A byte-level BPE ``tokenizer.json`` with BOS and four spare control tokens, but no stage tokens."""
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=words is None)
    cut = [tokenizers.pre_tokenizers.Split(tokenizers.Regex(words), "isolated")] if words else []
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([*cut, byte_level])
    engine.decoder = tokenizers.decoders.ByteLevel()
    engine.train_from_iterator(
        [TEXT],
        tokenizers.trainers.BpeTrainer(
            vocab_size=size,
            show_progress=False,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<s>", *(f"<spare_{i}>" for i in range(4))],
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    engine.save(str(folder / "tokenizer.json"))
    return folder


def train_metaspace(folder: Path) -> Path:
    """A ``tokenizer.json`` in the manner of Llama 2: space marks, byte fallback, and a dummy space before a text."""
    stage = ["<|start_header_id|>", "<|stop_header_id|>", "<|eot_id|>"]
    special = ["<unk>", "<s>", *stage, *(f"<0x{byte:02X}>" for byte in range(256))]
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True))
    engine.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    engine.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    words = [word.replace(" ", "▁") for word in TEXT.split("\n")]
    engine.train_from_iterator(
        words, tokenizers.trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    folder.mkdir(parents=True, exist_ok=True)
    description = engine.to_str()
    (folder / "tokenizer.json").write_text(_bytes_as_plain_tokens(description), encoding="utf-8")
    return folder


def _bytes_as_plain_tokens(description: str) -> str:
    """The trainer can only reserve byte tokens as added tokens; here they become ordinary vocabulary."""
    parsed = json.loads(description)
    parsed["added_tokens"] = [token for token in parsed["added_tokens"] if not token["content"].startswith("<0x")]
    return json.dumps(parsed)


def make_trajectory(length: int, seed: int) -> Trajectory:
    """Random tokens of a 350-id vocabulary, in runs of role, kind and weight."""
    rng = np.random.default_rng([length, seed])
    label = np.repeat(rng.integers(0, 9, length), rng.integers(1, 20, length))[:length]
    return Trajectory(
        rng.integers(5, 350, length).astype(np.int32),
        label.astype(np.int8),
        (label % 5).astype(np.int8),
        (label % 3 / 2).astype(np.float32),
    )


LENGTHS = (40, 7, 64, 1, 23, 31, 12, 55, 9, 18, 50, 3, 27)
