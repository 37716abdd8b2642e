"""Finds the prefix of a new prompt whose state is in the cache already, so that it is not read again."""

from collections.abc import Container, Iterable, Sequence

from polaris_jax.sampling.decode_cache import DecodeCache

# A request waits for a prompt that is being read, or copies another slot's cache, when that saves this many tokens.
MIN_SHARED_TOKENS = 16


class PrefixSharing:
    """Chooses the slot of a prompt, and the prefix that the cache has read already, by the same adapter.

    Args:
      cache: the rows, one per slot.
      exact: see ``Engine``. A shared prefix must then have been read in the same chunks as the prompt would be.
    """

    def __init__(self, cache: DecodeCache, *, exact: bool):
        self._cache, self._exact = cache, exact
        self._prompts = [0] * len(cache.tokens)  # tokens at the start of each row that were read as one prompt

    def note(self, slot: int, tokens: int) -> None:
        """Records that a slot has got a prompt of so many tokens."""
        self._prompts[slot] = tokens

    def best_slot(self, prompt: Sequence[int], adapter: int, active: Container[int]) -> tuple[int, int, int]:
        """``(free slot, slot to copy the prefix from, tokens of the prefix)``; at least one slot is not ``active``.

        Args:
          adapter: that reads the prompt (``DecodeCache.adapters``).
        """
        cache, slots = self._cache, range(len(self._cache.tokens))
        free = [slot for slot in slots if slot not in active]
        shared = [self._shared_prefix(slot, prompt, adapter) for slot in slots]
        own = max(free, key=lambda slot: (shared[slot], -len(cache.tokens[slot])))
        best = own, own, shared[own]
        for source in slots:
            if source not in active or shared[source] < best[2] + MIN_SHARED_TOKENS:
                continue
            targets = [slot for slot in free if cache.same_shard(source, slot)]
            if targets:
                # The copy replaces the shortest text.
                best = min(targets, key=lambda slot: len(cache.tokens[slot])), source, shared[source]
        return best

    def find_pages(self, slot: int, source: int, shared: int, tokens: int, active: Container[int]) -> bool:
        """Whether a paged cache has pages for a text of ``tokens``; ended texts give up theirs until it has.

        Args:
          slot, source, shared: as ``best_slot`` gave them.
        """
        pages = self._cache.pages
        if pages is None:
            return True
        ended = [other for other in range(len(self._cache.tokens)) if other not in active and other != slot]
        while pages.lacking(slot, source, shared, tokens) > 0:
            if not ended:
                return False
            other = ended.pop()
            self._cache.fork(other, other, 0)
        return True

    def shared_soon(self, prompt: Sequence[int], adapter: int, reading: Iterable[tuple[int, Sequence[int]]]) -> int:
        """How many first tokens of ``prompt`` can be shared with a prompt that is being read.

        Args:
          reading: ``(slot, whole prompt)`` of all that are.
        """
        shared = []
        for slot, other in reading:
            common = common_prefix(other, prompt) if self._cache.adapters[slot] == adapter else 0
            # A recurrent state is saved at the end of a prompt only.
            if not self._cache.sampler.config.recurrent or common == len(other):
                shared.append(common)
        return max(shared, default=0)

    def _shared_prefix(self, slot: int, prompt: Sequence[int], adapter: int) -> int:
        """How many first tokens of ``prompt`` need not be read if they are taken from the text in ``slot``."""
        cache = self._cache
        if cache.adapters[slot] != adapter:
            return 0
        shared = common_prefix(cache.tokens[slot], prompt)
        if self._exact and not shared == len(prompt) == self._prompts[slot]:
            chunk = cache.sampler.chunk_sizes[-1]
            shared = min(shared, self._prompts[slot], len(prompt) - 1) // chunk * chunk
        if shared == len(prompt) and shared not in (cache.saved_lengths[slot], cache.lengths[slot]):
            shared -= 1  # the logits after it were not kept
        return cache.reusable_length(slot, shared)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many leading tokens two texts share."""
    shortest, at, block = min(len(a), len(b)), 0, 4096
    a, b = list(a[:shortest]), list(b[:shortest])
    while at < shortest and a[at : at + block] == b[at : at + block]:
        at += block
    while at < shortest and a[at] == b[at]:
        at += 1
    return min(at, shortest)
