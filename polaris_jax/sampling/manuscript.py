"""The transcript in its three forms at once: text, canonical tokens, and a session that has read them.

What a model drew may be cut into tokens as no tokenizer would cut it. ``commit`` therefore goes back to where the step
began and reads the accepted text in canonical form, in chunks: about a tenth of the cost of having written it. In return the
model always continues from tokens as they were in training, and the cache is a function of the committed texts alone:
a resumed run that commits the same texts in the same order holds the same bits.

The last tokens of a stage in progress are not settled: a full stop and two newlines may become one token, or three,
depending on what comes next. They are left unread and put, with the next step's prefill, in front of its grammar.
"""

from polaris_jax.data import Tokenizer
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


class Manuscript:
    """A transcript that grows by commits.

    Attributes:
      text: everything committed.
      session: has read the settled tokens of ``text``, plus whatever was tried since the last commit.
    """

    def __init__(self, sampler: Sampler):
        self.session = sampler.start()
        self.text = ""
        self._tokenizer = sampler.tokenizer
        self._pieces = sampler.tokenizer.token_bytes()
        self._tokens: list[int] = [] if sampler.tokenizer.bos_id is None else [sampler.tokenizer.bos_id]
        self._settled = 0

    @property
    def length(self) -> int:
        """Tokens of ``text``, BOS included."""
        return len(self._tokens)

    def commit(self, text: str) -> int:
        """Makes ``text``, which begins with all that is committed already, the transcript.

        Returns:
          The number of tokens read.
        """
        if not text.startswith(self.text):
            raise ValueError("a commit continues the text that is already there")
        self.session.rewind([self._settled])
        keep, tail = self._tokenizer.append(self._tokens, text[len(self.text) :])
        self._tokens = [*self._tokens[:keep], *tail.tolist()]
        before, self._settled = self._settled, settled(self._tokenizer, self._tokens, self._pieces)
        self.session.append([self._tokens[before : self._settled]])
        self.session.mark()
        self.text = text
        return self._settled - before

    def open(self, prefill: str) -> tuple[str, int]:
        """Goes back to the last commit and reads what of ``prefill`` is certain.

        Returns:
          ``(literal, tokens read)``: the text that must still come before the sample, to be put in front of its grammar. It
          ends with all of ``prefill`` after its stage header and may begin with the last, unsettled characters of ``text``.
        """
        self.session.rewind([self._settled])
        whole = self._tokenizer.decode(self._tokens[self._settled :]) + prefill
        at = whole.rfind(STOP)
        cut = at + len(STOP) if at >= 0 else 0
        head = self._tokenizer.encode(whole[:cut]).tolist()
        self.session.append([head])
        return whole[cut:], len(head)
