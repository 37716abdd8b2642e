"""The transcript in three forms at once: text, canonical tokens, and a cache that has read them.

What a model sampled may be cut into tokens as no tokenizer would cut it. ``commit`` therefore goes back to where the
step began and reads the accepted text in canonical form, in chunks: a fraction of the cost of having sampled it. In
return the model always continues from tokens as they were in training, and the cache is a function of the committed
texts alone: a resumed run that commits the same texts in the same order holds the same bits.

The last tokens of an unfinished stage are not settled: a full stop and two newlines may become one token, or three,
depending on what comes next. They are left unread and put, with the next step's prefill, in front of its grammar.
"""

from dataclasses import dataclass

from polaris_jax.data import Tokenizer
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.trajectory import STOP


def settled(tokenizer: Tokenizer, tokens: list[int], pieces: list[bytes]) -> int:
    """How many leading ``tokens`` stay as they are whatever text follows (see ``Tokenizer.append``)."""
    special = set(tokenizer.special_ids)
    count = len(tokens)
    while count and not (pieces[tokens[count - 1]].endswith(b"\n") or tokens[count - 1] in special):
        count -= 1
    while count and pieces[tokens[count - 1]].endswith(b"\n"):
        count -= 1
    return count


@dataclass(frozen=True)
class StepPrefix:
    """What comes before a step's sample.

    Attributes:
      literal: text to put in front of the step's grammar: the unsettled end of what is committed, then the prefill
        after its stage header.
      committed: how many characters of ``literal`` are committed already.
      tokens_read: tokens read to get here.
    """

    literal: str
    committed: int
    tokens_read: int


class CachedTranscript:
    """A transcript that grows by commits.

    Attributes:
      text: everything committed.
      cache: has read the settled tokens of ``text``, plus whatever was tried since the last commit.
    """

    def __init__(self, sampler: Sampler):
        self.cache = DecodeCache(sampler)
        self.text = ""
        self._tokenizer = sampler.tokenizer
        self._pieces = sampler.tokenizer.token_bytes()
        self._tokens: list[int] = [] if sampler.tokenizer.bos_id is None else [sampler.tokenizer.bos_id]
        self._settled = 0

    def commit(self, text: str) -> int:
        """Makes ``text``, which begins with all that is committed already, the transcript.

        Returns:
          The number of tokens read.

        Raises:
          ValueError: ``text`` does not begin with what is committed.
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
        """Goes back to the last commit and reads the stage header of ``prefill``, if it has one: that is settled."""
        self.cache.rewind([self._settled])
        unsettled = self._tokenizer.decode(self._tokens[self._settled :])
        whole = unsettled + prefill
        at = whole.rfind(STOP)
        cut = at + len(STOP) if at >= 0 else 0
        head = self._tokenizer.encode(whole[:cut]).tolist()
        self.cache.append([head])
        return StepPrefix(whole[cut:], max(len(unsettled) - cut, 0), len(head))
