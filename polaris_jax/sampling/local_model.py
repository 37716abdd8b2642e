"""Writes books with a checkpoint in this process."""

import hashlib
from typing import Any

import jax
import numpy as np

from polaris_jax.sampling.attempt import Attempt
from polaris_jax.sampling.book_model import AttemptContext, StepSample
from polaris_jax.sampling.cached_transcript import CachedTranscript
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.trajectory import Step


class LocalSession(CachedTranscript):
    """A transcript with a cache, and attempts at its steps (``book_model.BookSession``)."""

    def __init__(self, sampler: Sampler):
        super().__init__(sampler)
        self._vocabulary = grammar_tokenizer(sampler.tokenizer)

    @property
    def window(self) -> int:
        """Tokens of the longest transcript."""
        return self.cache.sampler.max_length

    @property
    def length(self) -> int:
        """Tokens that the cache has read."""
        return self.cache.lengths[0]

    def count(self, text: str) -> int:
        """Canonical tokens of a text by itself."""
        return len(self._tokenizer.encode(text))

    def attempt(self, step: Step, settings: WriterSettings, context: AttemptContext) -> StepSample:
        """See ``BookSession.attempt``."""
        return Attempt(self, step, settings, self._vocabulary, context).run()


class LocalModel:
    """A sampler as a ``book_model.BookModel``."""

    def __init__(self, sampler: Sampler):
        self._sampler = sampler

    def identity(self) -> dict[str, Any]:
        """Hashes of tokenizer, of shape and dtypes, and of weights; and ``speculate``, which can change rounding."""
        sampler = self._sampler
        model = hashlib.sha256(repr((sampler.config, sampler.compute_dtype, sampler.cache_dtype)).encode()).hexdigest()
        return {
            "tokenizer": sampler.tokenizer.fingerprint,
            "model": model,
            "weights": weights_fingerprint(sampler.params),
            "speculate": sampler.speculate or None,
        }

    def begin(self) -> LocalSession:
        """See ``BookModel.begin``."""
        return LocalSession(self._sampler)


def weights_fingerprint(params: Any) -> str:
    """A hash of a few numbers of every array; the same for stacked and unstacked blocks."""
    blocks = params["blocks"]
    stacked = not isinstance(blocks, tuple)
    middle = len(jax.tree.leaves(blocks)[0] if stacked else blocks) // 2
    digest = hashlib.sha256()
    rest = {name: part for name, part in params.items() if name not in ("blocks", "tied_head")}
    for tree, at in ((rest, ()), (blocks if stacked else blocks[middle], (middle,) * stacked)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            shape = leaf.shape[len(at) :]
            numbers = leaf[at + tuple(size // 2 for size in shape[:-1])][:64]
            digest.update(f"{jax.tree_util.keystr(path)} {shape} {leaf.dtype}".encode())
            digest.update(np.asarray(numbers.astype("float32")).tobytes())
    return digest.hexdigest()
