"""Where a sentence can end early and still be English."""

from collections.abc import Sequence

from polaris_jax.scaffold.analysis.lexicons import CONJUNCTIONS, DETERMINERS, PREPOSITIONS, word_set
from polaris_jax.scaffold.analysis.tagging import NOUNS, PARTICIPLES, possible_tags, tags

CUT_BEFORE = (PREPOSITIONS | CONJUNCTIONS) - word_set(
    "of than that like past near round down off out up over while for so"
)
_LOOSE_TAGS = frozenset({"AT0", "DPS", "PRP", "PRF", "CJC", "CJS", "CJT", "TO0", "DTQ", "PNQ", "AVQ", "VM0"})
_LOOSE_WORDS = (
    (PREPOSITIONS | CONJUNCTIONS | DETERMINERS) - word_set("her this that up down off out over in on round")
) | word_set(
    "who whom whose which what is are was were be been has have had will can would could may might must shall should "
    "do does did he she they we i it's mr mrs very quite just only too still even always never now then here's "
    "also almost rather perhaps however therefore thus more most less much far such so as how why when where else"
)
_MARKS = ",.;:!?…-–—“”‘’'\""
_NEAR = 8  # words at an end that are tagged
_PARTNERS = {"between": "and", "both": "and", "either": "or", "neither": "nor"}
_HAVE = word_set("has have had")
_AFTER_HAVE = PARTICIPLES | NOUNS | {"PNP", "PNI", "PNX", "DT0", "TO0", "CRD", "AT0", "DPS"}


def tags_of_words(words: Sequence[str]) -> tuple[str, ...]:
    """The tags of words with their punctuation on them."""
    return tags([word.strip(_MARKS) or "," for word in words])


def sound_end(words: Sequence[str]) -> int:
    """How many of the words to keep so that the sentence ends as English (``can_end``)."""
    end, tagged = len(words), None
    while end:
        last = words[end - 1].strip(_MARKS)
        if last and last.lower() not in _LOOSE_WORDS:
            if not any(tag in _LOOSE_TAGS or tag.startswith(("AJ", "AV")) for tag in possible_tags(last.lower())):
                return end  # as nearly always: its context need not be known
            if tagged is None:
                near = max(0, end - _NEAR)
                tagged = ("",) * near + tags_of_words(words[near:end])
            if can_end(words[:end], end, tagged):
                return end
        end -= 1
    return 0


def can_end(words: Sequence[str], end: int, tagged: tuple[str, ...]) -> bool:
    """Whether ``words[:end]`` is no torso: the last phrase has its noun, and no pair (*between ... and*) lost one half.

    Args:
      words: of a sentence, with punctuation on them; ``tagged``: their tags (``tags_of_words``).
    """
    low = [word.lower().strip(",.;:") for word in words]
    last, after = tagged[end - 1], tagged[end] if end < len(words) else ""
    if last in _LOOSE_TAGS or low[end - 1] in _LOOSE_WORDS:
        return False
    if after == "TO0":
        governor = end - 1
        while governor > 0 and tagged[governor].startswith("AV"):
            governor -= 1
        if tagged[governor].startswith(("V", "AJ")):  # begins | to grow
            return False
    return not _lacks_noun(low, end, tagged) and not _lost_partner(low, end)


def _lacks_noun(low: list[str], end: int, tagged: tuple[str, ...]) -> bool:
    """Whether the last phrase is *of the heroic* or *by formally*."""
    begin = end - 1
    while begin >= 0 and (tagged[begin].startswith(("AJ", "AV")) or tagged[begin] in ("ORD", "CRD", "CJC", "POS")):
        begin -= 1
    if begin < 0 or begin == end - 1:
        return False
    if tagged[end - 1].startswith("AV"):
        return low[end - 1].endswith("ly") and tagged[begin] in ("PRP", "PRF", "AT0", "TO0")
    return tagged[begin] in ("AT0", "DPS") and tagged[end - 1].startswith("AJ")


def _lost_partner(low: list[str], end: int) -> bool:
    """Whether the cut parts a pair: between ... and, as well | as, so tired | that, more | than, not only ... but."""
    kept, rest = low[:end], low[end:]
    for opener, partner in _PARTNERS.items():
        if opener in kept and partner in rest and partner not in kept[kept.index(opener) :]:
            return True
    if not rest:
        return False
    near = kept[-4:]
    if rest[0] == "as":
        return any(word in near for word in ("as", "so", "such", "same"))
    if rest[0] == "that":
        return any(word in near for word in ("so", "such"))
    if rest[0] == "than":
        return True
    return rest[0] == "but" and "only" in kept and "not" in kept


def has_its_verbs(words: Sequence[str]) -> bool:
    """Whether something follows every *has* and *have* of a sentence: a participle or what is had."""
    if _HAVE.isdisjoint(word.lower() for word in words):
        return True
    tagged = tags_of_words(words)
    return all(
        any(later in _AFTER_HAVE for later in tagged[index + 1 :])
        for index, tag in enumerate(tagged)
        if tag in ("VHZ", "VHB", "VHD")
    )
