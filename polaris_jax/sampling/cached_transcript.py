"""The transcript in three forms at once: text, canonical tokens, and a cache that has read them.

Sampled tokens may differ from the tokens that the tokenizer gives for the same text. ``commit`` therefore goes back to
the start of the step and reads the accepted text in canonical tokens, in chunks. This costs a fraction of the sampling.
The model then always continues from tokens as in training, and the cache depends only on the committed texts: a resumed
run that commits the same texts in the same order has the same bits.

The last tokens of an unfinished stage are not settled: a full stop and two newlines may become one token or three,
depending on what follows. They stay unread; their text and the next step's prefill are put in front of its grammar.
"""

from dataclasses import dataclass

from polaris_jax.data import Tokenizer
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.trajectory import STOP


def settled(tokenizer: Tokenizer, tokens: list[int], pieces: list[bytes]) -> int:
    """The number of leading ``tokens`` that stay the same whatever text follows (see ``Tokenizer.append``)."""
    special = set(tokenizer.special_ids)
    count = len(tokens)
    while count and not (pieces[tokens[count - 1]].endswith(b"\n") or tokens[count - 1] in special):
        count -= 1
    while count and pieces[tokens[count - 1]].endswith(b"\n"):
        count -= 1
    return count


@dataclass(frozen=True)
class StepPrefix:
    """The text before a step's sample.

    Attributes:
      literal: text to put in front of the step's grammar: the unsettled end of the committed text, then the prefill
        after its stage header.
      committed: how many characters of ``literal`` are committed already.
      tokens_read: tokens read for it.
    """

    literal: str
    committed: int
    tokens_read: int


class CachedTranscript:
    """A transcript that grows by commits.

    Attributes:
      text: everything committed.
      cache: has read the settled tokens of ``text``, and the tokens of attempts since the last commit.
    """

    def __init__(self, sampler: Sampler):
        self.cache = DecodeCache(sampler)
        self.text = ""
        self._tokenizer = sampler.tokenizer
        self._pieces = sampler.tokenizer.token_bytes()
        self._tokens: list[int] = [] if sampler.tokenizer.bos_id is None else [sampler.tokenizer.bos_id]
        self._settled = 0

    def commit(self, text: str) -> int:
        """Extends the transcript to ``text``, which begins with the committed text.

        Returns:
          The number of tokens read.

        Raises:
          ValueError: ``text`` does not begin with the committed text.
        """
        if not text.startswith(self.text):
            raise ValueError("a commit continues the text that is already there")
        self.cache.rewind([self._settled])
        keep, tail = self._tokenizer.append(self._tokens, text[len(self.text) :])
        self._tokens = [*self._tokens[:keep], *tail.tolist()]
        before, self._settled = self._settled, settled(self._tokenizer, self._tokens, self._pieces)
        self.cache.append([self._tokens[before : self._settled]])
        self.cache.save()
        self.text = text
        return self._settled - before

    def begin_step(self, prefill: str) -> StepPrefix:
        """Goes back to the last commit, and reads the stage header of ``prefill``, if any: its tokens are settled."""
        self.cache.rewind([self._settled])
        unsettled = self._tokenizer.decode(self._tokens[self._settled :])
        whole = unsettled + prefill
        at = whole.rfind(STOP)
        cut = at + len(STOP) if at >= 0 else 0
        head = self._tokenizer.encode(whole[:cut]).tolist()
        self.cache.append([head])
        return StepPrefix(whole[cut:], max(len(unsettled) - cut, 0), len(head))
