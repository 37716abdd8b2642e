"""Finds mistakes of English without a parser: articles, agreement, tense, sentences that break off."""

import re

from polaris_jax.scaffold.analysis.lexicons import PREPOSITIONS, word_set
from polaris_jax.scaffold.analysis.novel_stats import NovelStats
from polaris_jax.scaffold.analysis.verbs import IRREGULAR, base_form, third_person
from polaris_jax.scaffold.offline.notes import speaks

_ARTICLE = re.compile(
    r"\b(?:a (?!one\b|once\b|uni|use|usu|eu|ew|ut)[aeiou]|an (?!hour|heir|honest|honou?r)[bcdfgjklmnpqrstvwyz])", re.I
)
_TWICE = re.compile(r"\b(the|a|an|of|to|in|and|is|has|he|she|it|his|her|they|very|that) \1\b(?! had)", re.I)
_BEFORE_ARTICLE = re.compile(r"\b(?:very|the|a|an|his|her|their|my) (?:a|an|the|his|her|their)\b", re.I)
_TWO_FINITE = re.compile(r"\b(?:will|can|must|may|shall)(?: not)? (?:the |a )?(?:\w+ )?(?:is|has|does|was|had)\b")
_THEN_PRESENT = re.compile(r"\b(?:is|are|has|have) \w+(?: \w+)? (?:years|days|hours|weeks|months) ago\b")
_DONT = re.compile(
    r"\b(?:(?:[Tt]he narrator|[Hh]e|[Ss]he|[Ii]t) (?:\w+ly )?(?:don['’]t|do|have|are|were|am)|[Tt]hey (?:\w+ly )?"
    r"(?:is|has|does|was)|I (?:is|has|are))\b"
)
_WHO_ONLY = re.compile(r"^(?:The )?[A-Z][\w’' -]{1,30}, (?:who|which|whose|whom) [^,]+\.$")
_COMPOUND = re.compile(r"^[A-Z]\w+ and (?:(?:his|her|the|their|my) \w+|[A-Z]\w+) (?:\w+ly )?([a-z]+s)\b")
_FIRST_TWO = re.compile(r"^([A-Z]\w+) ([a-z]+)\b")
_LOOSE = PREPOSITIONS - word_set("up down off out over in on behind below above by about around through")
_DANGLING = _LOOSE | word_set("the a an and or but because if when while which whose whom his their my its very that")
_OPENS_WITH = re.compile(r"^(?:That|Which|Who|Whose|Because|Than|Though|Neither|Nor)\b")
_PAST = word_set("was were had did could would seemed turned went came said became")
_HAVE = word_set("has have had having")
_FREQUENT = word_set("sometimes often never always also now then still soon seldom")
_BASES = frozenset(base for past, base in IRREGULAR.items() if past != base) - word_set(
    "lead show lie light wind found fall run rise leave bear spring ring left set"
)
_VERBS = frozenset(IRREGULAR.values())
_MODAL = word_set(
    "will can must may shall would could should might do does did had has have to not cannot let make makes help helps "
    "see sees hear hears and or lets watches feels"
)


def mistakes(line: str, stats: NovelStats) -> tuple[str, ...]:
    """Mistakes in the English of a bullet, one short phrase each.

    Args:
      stats: measurements of the novel; its vocabulary and names distinguish verbs from nouns.
    """
    found: list[str] = []
    if match := _ARTICLE.search(line):
        found.append(f"article: {match.group()}")
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
    found += _agreement(line, stats)
    words = re.findall(r"[\w’'-]+", line)
    if not words:
        return ["empty"]
    last = words[-1].lower()
    present = any(word in ("is", "are", "has", "have", "does", "can", "will") for word in words)
    if stats.past and present is False and not speaks(line, stats) and not _present_verb(words, stats):
        found.append("no verb")
    elif last in _DANGLING or ("-" in words[-1] and words[-1].startswith("half-")):
        found.append(f"breaks off: {last}")
    elif _breaks_off(line, stats):
        found.append("breaks off")
    if _WHO_ONLY.match(line) or _OPENS_WITH.match(line):
        found.append("no main clause")
    low = [word.lower() for word in words]
    mixed = [word for before, word in zip(["", *low], low, strict=False) if word in _PAST and before not in _HAVE]
    if mixed and (present or speaks(line, stats)) and not _reported(line):
        found.append(f"tense: {mixed[0]}")
    return found


def _reported(line: str) -> bool:
    """Whether a line in the present may have a past form: after if, as if, that, because, after, when, who, would."""
    return bool(re.search(r"\b(?:if|though|that|because|after|before|who|which|whom|what|how|why|where|since)\b", line))


def _present_verb(words: list[str], stats: NovelStats) -> bool:
    for word in words[1:]:
        low = word.lower()
        if low in _VERBS or not {f"{low}ed", f"{low}d" if low.endswith("e") else low + "ed"}.isdisjoint(
            stats.vocabulary
        ):
            return True
        if low.endswith("s") and (low[:-1] in _BASES or low[:-1] in stats.vocabulary or low[:-2] in _BASES):
            return True
    return False


def _breaks_off(line: str, stats: NovelStats) -> bool:
    """Whether the last part of a line begins a clause that is missing."""
    parts = [part.strip() for part in line.rstrip(".").split(",")]
    if len(parts) > 1:
        tail = parts[-1].split()
        if len(tail) < 6 and tail[:1] in (["and"], ["but"]) and len(tail) > 1 and tail[1].endswith("ing"):
            return True
    return speaks(line, stats) and not _has_verb_at_end(parts, stats)


def _has_verb_at_end(parts: list[str], stats: NovelStats) -> bool:
    """Whether a last part that begins with a conjunction has its own verb or ends a list."""
    if len(parts) < 2:
        return True
    tail = parts[-1].split()
    opens = tail[:1] and tail[0] in ("and", "but", "when", "if", "because", "though", "while")
    return not opens or len(tail) > 4 or speaks(parts[-1], stats) or (tail[0] == "and" and len(parts) > 2)


def _agreement(line: str, stats: NovelStats) -> list[str]:
    """Singular subjects with a plural verb, and plural subjects with a singular verb."""
    if (match := _COMPOUND.match(line)) and _is_verb(match.group(1), stats):
        return [f"agreement: {match.group()}"]
    if (match := _FIRST_TWO.match(line)) and match.group(1) in stats.name_parts:
        verb = match.group(2)
        past = f"{verb}d" if verb.endswith("e") else f"{verb}ed"
        if past in stats.vocabulary and verb not in _FREQUENT and not verb.endswith(("s", "ing")):
            return [f"agreement: {match.group()}"]
    for match in re.finditer(r"\b([A-Z]\w+|[Hh]e|[Ss]he|narrator) (?:(\w+) )?([a-z]+)\b", line):
        subject, between, verb = match.groups()
        single = subject.lower() in ("he", "she", "narrator") or subject in stats.name_parts
        if between and between not in _FREQUENT:
            verb, between = between, ""
        before = line[: match.start()].rstrip().split(" ")[-1].lower()
        if single and verb in _BASES and before not in _MODAL and not before.endswith(("and", ",")):
            return [f"agreement: {match.group()}"]
    return []


def _is_verb(word: str, stats: NovelStats) -> bool:
    """Whether a word in -s is a verb in the third person."""
    bases = {word[:-1], word[:-2], word[:-3] + "y"}
    past = {form for base in bases for form in (f"{base}ed", f"{base}d", base[:-1] + "ied")}
    known = any(third_person(base) == word for base in bases & _BASES)
    return known or bool(past & stats.vocabulary and any(base_form(form) in bases for form in past & stats.vocabulary))
