"""Finds mistakes of English without a parser: articles, agreement, tense, sentences that break off."""

import re

from polaris_jax.scaffold.analysis.articles import wrong_articles
from polaris_jax.scaffold.analysis.lexicons import PREPOSITIONS, word_set
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.tagging import PRESENT, possible_tags, tags
from polaris_jax.scaffold.offline.notes import speaks

_TWICE = re.compile(r"\b(the|a|an|of|to|in|and|is|has|he|she|it|his|her|they|very|that) \1\b(?! had)", re.I)
_BEFORE_ARTICLE = re.compile(r"\b(?:very|the|a|an|his|her|their|my) (?:a|an|the|his|her|their)\b", re.I)
_TWO_FINITE = re.compile(r"\b(?:will|can|must|may|shall)(?: not)? (?:the |a )?(?:\w+ )?(?:is|has|does|was|had)\b")
_THEN_PRESENT = re.compile(r"\b(?:is|are|has|have) \w+(?: \w+)? (?:years|days|hours|weeks|months) ago\b")
_DONT = re.compile(
    r"\b(?:(?:[Tt]he narrator|[Hh]e|[Ss]he|[Ii]t) (?:\w+ly )?(?:don['’]t|do|have|are|were|am)|[Tt]hey (?:\w+ly )?"
    r"(?:is|has|does|was)|I (?:is|has|are))\b"
)
_WHO_ONLY = re.compile(r"^(?:The )?[A-Z][\w’' -]{1,30}, (?:who|which|whose|whom) [^,]+\.$")
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*|[^\w\s]")
_PLURAL_VERBS, _SINGULAR_VERBS = frozenset({"VVB", "VHB", "VDB"}), frozenset({"VVZ", "VBZ", "VHZ", "VDZ"})
_INSIDE_PHRASES = frozenset({"AT0", "DPS", "AJ0", "AJC", "AJS", "ORD", "CRD", "NN1", "POS"})
_MAY_SPEAK = PRESENT | {"VVI"}  # a finite verb may stand before its subject, where the tagger does not expect it
_QUANTITIES = word_set("some most many all few several both half")
_ONE_PERSON = word_set("he she it narrator")
_LOOSE = PREPOSITIONS - word_set("up down off out over in on behind below above by about around through")
_DANGLING = _LOOSE | word_set("the a an and or but because if when while which whose whom his their my its very that")
_OPENS_WITH = re.compile(r"^(?:That|Which|Who|Whose|Because|Than|Though|Neither|Nor)\b")
_PAST = word_set("was were had did could would seemed turned went came said became")
_HAVE = word_set("has have had having")


def mistakes(line: str, stats: NovelStats) -> tuple[str, ...]:
    """Mistakes in the English of a bullet, one short phrase each.

    Args:
      stats: measurements of the novel; its vocabulary and names distinguish verbs from nouns.
    """
    found: list[str] = []
    if wrong := wrong_articles(line):
        found.append(f"article: {wrong[0]}")
    if match := _TWICE.search(line) or _BEFORE_ARTICLE.search(line):
        found.append(f"twice: {match.group()}")
    if match := _TWO_FINITE.search(line):
        found.append(f"two verbs: {match.group()}")
    if match := _THEN_PRESENT.search(line):
        found.append(f"tense: {match.group()}")
    if "“" not in line:
        found += _told(line, stats)
    if line[:1].islower() or line.count("“") != line.count("”"):
        found.append("set badly")
    return tuple(found)


def _told(line: str, stats: NovelStats) -> list[str]:
    """Mistakes of a line without speech."""
    found = []
    if match := _DONT.search(line):
        found.append(f"agreement: {match.group()}")
    found += _agreement(line)
    words = re.findall(r"[\w’'-]+", line)
    if not words:
        return ["empty"]
    last = words[-1].lower()
    present = any(word in ("is", "are", "has", "have", "does", "can", "will") for word in words)
    if stats.past and not present and not any(possible_tags(word.lower()) & _MAY_SPEAK for word in words[1:]):
        found.append("no verb")
    elif last in _DANGLING or ("-" in words[-1] and words[-1].startswith("half-")):
        found.append(f"breaks off: {last}")
    elif _breaks_off(line):
        found.append("breaks off")
    if _WHO_ONLY.match(line) or _OPENS_WITH.match(line):
        found.append("no main clause")
    low = [word.lower() for word in words]
    mixed = [word for before, word in zip(["", *low], low, strict=False) if word in _PAST and before not in _HAVE]
    if mixed and (present or speaks(line)) and not _reported(line):
        found.append(f"tense: {mixed[0]}")
    return found


def _reported(line: str) -> bool:
    """Whether a line in the present may have a past form: after if, as if, that, because, after, when, who, would."""
    return bool(re.search(r"\b(?:if|though|that|because|after|before|who|which|whom|what|how|why|where|since)\b", line))


def _breaks_off(line: str) -> bool:
    """Whether the last part of a line begins a clause that is missing."""
    parts = [part.strip() for part in line.rstrip(".").split(",")]
    if len(parts) > 1:
        tail = parts[-1].split()
        if len(tail) < 6 and tail[:1] in (["and"], ["but"]) and len(tail) > 1 and tail[1].endswith("ing"):
            return True
    return speaks(line) and not _has_verb_at_end(parts)


def _has_verb_at_end(parts: list[str]) -> bool:
    """Whether a last part that begins with a conjunction has its own verb or ends a list."""
    if len(parts) < 2:
        return True
    tail = parts[-1].split()
    opens = tail[:1] and tail[0] in ("and", "but", "when", "if", "because", "though", "while")
    return not opens or len(tail) > 4 or speaks(parts[-1]) or (tail[0] == "and" and len(parts) > 2)


def _agreement(line: str) -> list[str]:
    """Singular subjects with a plural verb, and plural subjects with a singular verb."""
    words = _WORD.findall(line)
    tagged = tags(words)
    for index, tag in enumerate(tagged):
        if tag not in _PLURAL_VERBS | _SINGULAR_VERBS:
            continue
        subject = index - 1
        while subject >= 0 and tagged[subject].startswith("AV"):
            subject -= 1
        if subject < 0:
            continue
        word, before = words[subject].lower(), tagged[subject - 1] if subject else ""
        begin = subject
        while begin and tagged[begin - 1] in _INSIDE_PHRASES:
            begin -= 1
        governor = tagged[begin - 1] if begin and tagged[begin - 1] in ("PRP", "PRF") else ""
        several = words[begin - 1].lower() == "and" if begin else False
        of_some = governor == "PRF" and begin > 1 and words[begin - 2].lower() in _QUANTITIES
        alone = word in _ONE_PERSON or (tagged[subject] == "NP0" and not governor)
        if tag in _PLURAL_VERBS and alone and not several:
            return [f"agreement: {' '.join(words[subject : index + 1])}"]
        many = tagged[subject] == "NN2" and (not governor or of_some)
        both = several and begin == 2 and tagged[0] in ("NP0", "NN1")  # "Agnes and her aunt walks"
        if tag in _SINGULAR_VERBS and (many or both or (word == "they" and before not in ("PRP", "PRF"))):
            return [f"agreement: {' '.join(words[max(0, begin - 2) : index + 1])}"]
    return []
