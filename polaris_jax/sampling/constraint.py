"""Grammar constraints on tokens: which may come next, and which must.

llguidance walks the grammar over *bytes*, so any tokenisation of a legal text is legal. Two places need care so that
the model still sees text cut into tokens as in training:

* **Forced text** (headings, literal names). llguidance hands out only those forced tokens that no continuation could
  merge with; the last, unsettled piece (the space before a first word, say) stays in the mask, where a token that
  covers it *and* the next letters is allowed. This is token healing without a special case.
* **Prefilled text** stands in front of the stage's grammar as a literal, so the seam between what is given and what is
  sampled is such forced text too.

The sampled tokens may still be an unusual tokenisation ("th" + "e"). The writer re-encodes a step's text with
``Tokenizer.append`` when it accepts the step, so that the model always continues canonical tokens.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from polaris_jax.data import Tokenizer
from polaris_jax.errors import InputError
from polaris_jax.trajectory.grammar import Grammar

# Bounded repeats of 300-character bullets inside 80-bullet arcs inside 12 arcs are large but regular.
_LIMITS = LLParserLimits(
    max_items_in_row=20_000, initial_lexer_fuel=50_000_000, step_lexer_fuel=5_000_000, max_grammar_size=5_000_000
)

# JSON has one spelling, as Python writes it: a model that may choose white space may never stop adding it.
_JSON: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class _Vocabulary:
    """Our tokenizer with the interface that ``TokenizerWrapper`` expects."""

    def __init__(self, tokenizer: Tokenizer, end: int):
        self._tokenizer = tokenizer
        self.eos_token_id = end
        self.bos_token_id = tokenizer.bos_id
        self.special_token_ids = list(tokenizer.special_ids)
        # An id without bytes (unused, BOS) would read as an empty token; a name no text contains keeps it out.
        self.tokens = [piece or b"<|unused_%d|>" % number for number, piece in enumerate(tokenizer.token_bytes())]

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8")).tolist()


def grammar_tokenizer(tokenizer: Tokenizer, end: int | None = None) -> LLTokenizer:
    """The byte trie of a vocabulary; seconds for large ones, so build it once.

    Args:
      end: the token that ends every grammar; default ``<|eot_id|>``.
    """
    end = tokenizer.eot_id if end is None else end
    return LLTokenizer(TokenizerWrapper(_Vocabulary(tokenizer, end)), eos_token=end)


def _brief(error: str, most: int = 400) -> str:
    """llguidance's message in one line; it may quote the whole grammar."""
    line = " ".join(error.split())
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-(most // 2) :]}"


class Constraint:
    """The state of one grammar after one text.

    The grammar is one of the project's own, or a caller's (``json_schema``, ``regex`` and ``lark``).

    Args:
      grammar: of the whole text, given text included.
      vocabulary: ``grammar_tokenizer`` of the tokenizer.

    Raises:
      ValueError: llguidance refuses the grammar (a defect of this package, not of the caller), or stops later.
    """

    def __init__(self, grammar: Grammar, vocabulary: LLTokenizer):
        self._begin(LLMatcher(vocabulary, grammar.lark(), limits=_LIMITS), vocabulary)
        self._raise_on_error()

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any], vocabulary: LLTokenizer) -> Self:
        """JSON that satisfies ``schema``; an InputError says which keyword cannot be enforced."""
        try:
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), defaults=_JSON)
        except (TypeError, ValueError) as error:
            raise InputError("json_schema", schema, f"is not a JSON object ({error})") from error
        return cls._of_caller("json_schema", schema, grammar, vocabulary)

    @classmethod
    def regex(cls, pattern: str, vocabulary: LLTokenizer) -> Self:
        """Text that ``pattern`` matches from end to end; an InputError says what is wrong with it."""
        return cls._of_caller("regex", pattern, LLMatcher.grammar_from_regex(pattern), vocabulary)

    @classmethod
    def lark(cls, text: str, vocabulary: LLTokenizer) -> Self:
        """Text of a grammar in llguidance's dialect of Lark; an InputError says what is wrong with it."""
        return cls._of_caller("lark", text, LLMatcher.grammar_from_lark(text), vocabulary)

    @classmethod
    def _of_caller(cls, field: str, value: Any, grammar: str, vocabulary: LLTokenizer) -> Self:
        constraint = cls.__new__(cls)
        constraint._begin(LLMatcher(vocabulary, grammar, log_level=0), vocabulary)  # with llguidance's own limits
        if constraint._matcher.is_error():
            raise InputError(field, value, _brief(constraint._matcher.get_error()))
        return constraint

    def _begin(self, matcher: LLMatcher, vocabulary: LLTokenizer) -> None:
        self._matcher = matcher
        self._words = (vocabulary.vocab_size + 31) // 32
        self.length = 0

    def copy(self) -> Self:
        """A copy with the same state; the compiled grammar is shared."""
        other = copy.copy(self)
        other._matcher = self._matcher.deep_copy()
        return other

    @property
    def accepting(self) -> bool:
        """Whether the text so far is complete."""
        return self._matcher.is_accepting()

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing more may follow."""
        return self._matcher.is_stopped()

    def forced(self) -> list[int]:
        """Tokens that must come next; append them without sampling."""
        return [] if self.finished else self._matcher.compute_ff_tokens()

    def mask(self) -> np.ndarray:
        """Allowed next tokens as packed bits, ``[1, ceil(V/32)] int32``; the end token is in it when ``accepting``."""
        words = np.zeros((1, self._words), np.int32)
        self._matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        self._raise_on_error()
        return words

    def consume(self, tokens: Sequence[int]) -> None:
        """Advances the state by ``tokens`` (not the end token).

        Raises:
          ValueError: the grammar does not allow them.
        """
        if not self._matcher.consume_tokens(list(tokens)):
            raise ValueError(f"the grammar does not allow tokens {list(tokens)[:8]}: {self._matcher.get_error()}")
        self.length += len(tokens)

    def rewind(self, length: int) -> None:
        """Returns to the state after the first ``length`` tokens."""
        if length < self.length:
            self._matcher.rollback(self.length - length)
            self.length = length
            self._raise_on_error()

    def _raise_on_error(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"llguidance: {self._matcher.get_error()}")
