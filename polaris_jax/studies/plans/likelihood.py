"""How probable a passage is to a model, word by word, given the text before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.decoder import hidden, logits, token_losses

_STEP = 64  # rows are padded to a multiple, so that few shapes are compiled


@dataclass(frozen=True)
class ConditionedText:
    """A passage after its heading.

    Attributes:
      tokens: int32 [n].
      start: where the passage begins; at least one token stands before it.
    """

    tokens: np.ndarray
    start: int

    @classmethod
    def of(cls, heading: str, text: str, tokenizer: Tokenizer) -> "ConditionedText":
        """Tokenises heading and passage separately, so that the passage has the same tokens after every heading."""
        before, after = tokenizer.encode(heading), tokenizer.encode(text)
        if not len(before) or not len(after):
            raise InputError("text", (heading or text)[:40], "heading and passage need a token each")
        return cls(np.concatenate([before, after]).astype(np.int32), len(before))


def passage_nats(
    params: Any,
    config: ModelConfig,
    texts: Sequence[ConditionedText],
    batch: int = 4,
    progress: Callable[[int], None] = lambda done: None,
) -> list[np.ndarray]:
    """Negative log-likelihood of every token of the passages, float32 [tokens of the passage] each, in nats.

    Args:
      batch: rows at once; texts are sorted by length, so that there is little padding.
      progress: called with the number of texts done.
    """
    found: dict[int, np.ndarray] = {}
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i].tokens), i))
    for first in range(0, len(order), batch):
        rows = order[first : first + batch]
        width = -(-len(texts[rows[-1]].tokens) // _STEP) * _STEP
        tokens = np.zeros((batch, width), np.int32)
        segments = np.zeros((batch, width), np.int32)
        for row, index in enumerate(rows):
            size = len(texts[index].tokens)
            tokens[row, :size], segments[row, :size] = texts[index].tokens, 1
        nats = np.asarray(_row_nats(params, config, tokens, segments))
        for row, index in enumerate(rows):
            # The prediction of token i stands at i - 1.
            found[index] = nats[row, texts[index].start - 1 : len(texts[index].tokens) - 1]
        progress(min(first + batch, len(order)))
    return [found[index] for index in range(len(texts))]


@partial(jax.jit, static_argnames="config")
def _row_nats(params: Any, config: ModelConfig, tokens: jax.Array, segments: jax.Array) -> jax.Array:
    x = hidden(params, config, tokens, segment_ids=segments)
    return token_losses(params, config, x, jnp.roll(tokens, -1, axis=1))[0]


def plain_passage_nats(params: Any, config: ModelConfig, text: ConditionedText) -> np.ndarray:
    """Like ``passage_nats`` for one text, from the logits of all tokens: slow, but easy to read."""
    all_logits = logits(params, config, jnp.asarray(text.tokens)[None])[0]
    log_probabilities = jax.nn.log_softmax(all_logits, axis=-1)
    places = np.arange(text.start, len(text.tokens))
    return -np.asarray(log_probabilities[places - 1, text.tokens[places]])


def word_nats(nats: np.ndarray, tokens: np.ndarray, text: str, pieces: Sequence[bytes]) -> np.ndarray:
    """Nats per word of a passage, float64 [words]; their sum is that of the tokens.

    A token belongs to the word of its first letter. A token of white space alone belongs to the next word, or at the
    end to the last word.

    Args:
      nats: ``[n]``, one value per token.
      tokens: ``[n]``, the tokens of ``text``.
      pieces: bytes of every token of the vocabulary (``Tokenizer.token_bytes``).
    """
    content = text.encode()
    owner = np.zeros(len(content) + 1, np.int64)  # of every byte: the word it belongs to or precedes
    word, inside = -1, False
    for place, byte in enumerate(content):
        is_space = byte in b" \t\n\r\x0b\x0c"
        if not is_space and not inside:
            word += 1
        inside = not is_space
        owner[place] = word if inside else word + 1
    owner[len(content)] = word
    found = np.zeros(word + 1)
    place = 0
    for token, amount in zip(tokens.tolist(), nats.tolist(), strict=True):
        piece = pieces[token]
        lead = len(piece) - len(piece.lstrip())
        found[min(word, owner[min(place + min(lead, max(0, len(piece) - 1)), len(content))])] += amount
        place += len(piece)
    assert place == len(content), "the tokens do not spell the text"
    return found
