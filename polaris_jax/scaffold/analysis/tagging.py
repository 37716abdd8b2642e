"""Parts of speech and base forms of English words, by the Hanover Tagger (HanTa; Wartena, GSCL 2019).

Its English model is part of the package and was trained on the British National Corpus. Tags are that corpus' own, the
C5 tagset: ``VVD`` is the past form of a verb, ``VVN`` its participle, ``AJ0`` an adjective, ``NN2`` a plural noun.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

# The tagger was trained on words that were cut at these, and knows them in this form only.
_CONTRACTED = ("n't", "'ll", "'d", "'ve", "'m", "'re", "'s", "s'")
_CONFIDENT = 5.0  # a tag of a word counts if its log-probability is at most this much below the likeliest tag's
PAST = frozenset({"VVD", "VBD", "VHD", "VDD"})
PARTICIPLES = frozenset({"VVN", "VBN", "VHN", "VDN"})
PRESENT = frozenset({"VVZ", "VBZ", "VHZ", "VDZ", "VVB", "VBB", "VHB", "VDB", "VM0"})
NOUNS = frozenset({"NN0", "NN1", "NN2", "NP0"})


@lru_cache(maxsize=1)
def _tagger() -> Any:
    from HanTa.HanoverTagger import HanoverTagger

    return HanoverTagger("morphmodel_en.pgz")


def _tagger_that_knows(tokens: Sequence[str]) -> Any:
    """The tagger, with these words analysed and kept.

    It keeps frequent words only, and analyses all others letter by letter every time. What it says of a kept word is
    not quite what it says of another, so every word is kept before it is asked for: no answer depends on earlier ones.
    """
    tagger = _tagger()
    for token in tokens:
        word = tagger.normalize(token)
        if word not in tagger.cache:
            found = tagger.analyze_forward(word)
            tagger.cache[word] = [(tag, likely) for tag, likely in found if likely >= found[0][1] - _CONFIDENT]
    return tagger


@lru_cache(maxsize=4096)
def _tags(tokens: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_tagger_that_knows(tokens).tag_sent(list(tokens), taglevel=0))


def tags(tokens: Sequence[str]) -> tuple[str, ...]:
    """The tag of every token, words or single punctuation marks, of one sentence."""
    words = [_uncontracted(token.replace("’", "'")) for token in tokens]
    ended = words[-1:] in (["."], ["!"], ["?"])  # without its end a sentence is tagged as if it went on
    return _tags((*words, *(() if ended else (".",))))[: len(words)]


def _uncontracted(token: str) -> str:
    """``was`` of ``wasn't``: the part that has the tag of the whole."""
    for ending in _CONTRACTED:
        if token.lower().endswith(ending) and len(token) > len(ending):
            word = token[: -len(ending)] + "s" * (ending == "s'")
            return {"ca": "can", "wo": "will", "sha": "shall"}.get(word.lower(), word)
    return token


@lru_cache(maxsize=1 << 16)
def possible_tags(word: str) -> frozenset[str]:
    """The tags that a lower-cased word can well have, wherever it stands."""
    found = _tagger_that_knows([word]).tag_word(word)
    return frozenset(tag for tag, likely in found if likely > found[0][1] - _CONFIDENT)


@lru_cache(maxsize=1 << 16)
def lemma(word: str, tag: str) -> str:
    """The base form of a lower-cased word that has this tag: ``go`` of ``went``, ``VVD``."""
    return _tagger().analyze(word, pos=tag)[0].lower()
