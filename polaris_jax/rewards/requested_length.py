"""Finds the length that a prompt asks for: ``2,400-word story``, ``12k words``, ``不少于2000字`` and so on.

Rewards, post-training and benchmarks read length requests here, and count lengths with ``word_count``.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from polaris_jax.rewards.spoken_numbers import CHINESE, SPOKEN, read_chinese

# Nouns of the unit by language; the language's number words may precede them. "" takes digits only.
_WORDS = {
    "en": r"words?|wds?",
    "de": r"wörtern?|worten?|wort|woertern?",
    "fr": r"mots?",
    "es": r"palabras?",
    "it": r"parol[ae]",
    "pt": r"palavras?",
    "": r"woord(?:en)?|ord|слов(?:а|о)?|слів|słów|słowa|slov(?:a)?|sanaa|sanan|szó(?:s|ból)?|szavas|cuvinte|"
    r"kelime\w*|λέξεις|λέξεων|كلمة|كلمات|מילים|מלים|शब्द\w*|शब्दों|kata|từ|chữ|คำ",
    "zh": r"(?:个|個)?(?:汉|漢|中文)?(?:字|文字)(?![母体體符典段幕节節面型形句谜])|단어|"
    r"(?:个|個)?(?:单词|單詞|词|詞)(?![语語典汇彙])",
}
_CHARACTERS = {
    "en": r"characters",
    "zh": r"글자|자(?![가-힣])",
    "": r"zeichen|caractères|caracteres|caratteri|знаков|symbols",
}
_UNIT = re.compile(
    "|".join(
        rf"(?P<{kind}_{language or 'any'}>(?<![^\W\d_])(?:{nouns})(?!\w))"
        if language != "zh"
        else rf"(?P<{kind}_zh>{nouns})"
        for kind, table in (("words", _WORDS), ("characters", _CHARACTERS))
        for language, nouns in table.items()
    ),
    re.IGNORECASE,
)
_SPACES = r"[ \t\u00a0\u2009\u202f]"
_THOUSANDS = dict.fromkeys(
    ("k", "thousand", "tausend", "mille", "mil", "tys", "тыс", "тысяч", "тысячи", "千", "천"), 1_000
)
_THOUSANDS |= dict.fromkeys("万萬만", 10_000)
_SCALE = rf"(?:{_SPACES}?-?(?:k|thousand|tausend|mille|mil|tys\.?|тыс\.?|тысячи?)(?![^\W\d_])|{_SPACES}?[千천万萬만])"
_FIGURES = rf"(?<![\w.,])(?:\d{{1,3}}(?:[,.'’，\u00a0\u2009\u202f ]\d{{3}})+|\d+(?:[.,]\d+)?)(?!\d){_SCALE}?"
_FIGURES_ZH = r"(?<![\d.,])(?:\d{1,3}(?:[,，]\d{3})+|\d+(?:\.\d+)?)(?:[kK]|[千천万萬만](?:\d[千천])?)?"
_CONNECTOR = rf"{_SPACES}*(?:-|–|—|‒|−|~|〜|～|to|and|or|bis|und|à|et|a|y|e|до|и|到|至|から|에서|或){_SPACES}*"
# Text that may stand between a number and its noun.
_BETWEEN = (
    r"(?:[\s-]*(?:±|\+/-|\+-)\s*[\d.,]+\s*%?)?\+?(?:[\s-]+(?:or so|odd|total|english|written|full|original|german|"
    r"french|spanish|new|or more|or fewer|or less))?[\s-]*"
)
_BETWEEN_ZH = r"\s*(?:多|左右|余|余个|来|上下|以上|以内|以下)?\s*"
_EXPLICIT = re.compile(
    r"\s+(?:long|in\s+(?:length|total)|total|lang|de\s+long(?:ueur)?|de\s+largo|longues?|largas?)\b", re.IGNORECASE
)
_TEXT_NOUN = re.compile(
    r"[\s-]+(?:[\w'’-]+[\s-]+){0,4}?(?:stor(?:y|ies)|tales?|novel\w*|essay|piece|text|article|narrative|fiction|chapter|"
    r"scene|letter|poem|monologue|dialogue|memoir|diary|saga|epic|vignette|fable|fairy|fan ?fic\w*|myth|legend|draft|"
    r"response|geschichte|erzählung|roman|histoire|récit|conte|historia|cuento|relato|racconto|história|conto)\b",
    re.IGNORECASE,
)
_AT_LEAST = (
    r"at least|no (?:less|fewer) than|not (?:less|fewer) than|(?<!no )(?<!not )more than|over|above|minimum(?: of)?|"
    r"min\.?|mindestens|minimal|au moins|al menos|como mínimo|не менее|不少于|不低于|至少|超过|不少於|최소"
)
_AT_MOST = (
    r"at most|up to|no more than|not more than|(?<!no )(?<!not )(?:less|fewer) than|under|below|within|"
    r"maximum(?: of)?|max\.?|höchstens|maximal|au plus|не более|不超过|不多于|不超過|最多|최대"
)
# Text in front of a requested number of words.
_MODIFIER = re.compile(
    rf"(?:\b(?:{_AT_LEAST}|{_AT_MOST}|about|approximately|approx\.?|around|roughly|circa|ca\.?|nearly|some|exactly|"
    r"precisely|between|from|of|in|to|with|is|be|for|has|have|want|need|contain(?:s|ing)?|length|total(?: of)?|"
    r"aim(?:ing)? for|target(?:ing)?|limit(?:ed)?(?: to| of)?|write|etwa|ungefähr|rund|von|mit|zwischen|environ|"
    r"d'environ|de|en|entre|unas|unos|aproximadamente|cerca de|di|около|примерно|на)|[~≈:(\[，：、,])\s*\Z",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"(?:word[\s-]?(?:count|limit|length|target)|number of words|(?:target|total|story|desired|required)?[\s-]?length|"
    r"wort(?:zahl|anzahl)|anzahl der wörter|nombre de mots|número de palabras|numero di parole|字数|字數|글자 ?수|"
    r"분량|文字数|文字數)(?:(?:[\s*_]*(?:[:：=≈~]|of|is|should be|要求|控制在|约|約|在|为|為|不少于|不低于|不超过|大约|"
    r"至少))+|(?<=[数數수]))[\s*_~]*(?:(?:about|approximately|around|roughly|at least|up to|约|約|大约)\s*)?",
    re.IGNORECASE,
)
_AFTER_LABEL = re.compile(r"\s*(?:words?\b|字|글자|자|\Z|(?=[.,;)，。；）\n]|左右|上下|以))", re.IGNORECASE)
_PART_AFTER = re.compile(
    r"\s*(?:per|each|every|apiece|a\s+(?:chapter|scene|part|day)|for each|pro|par|por|je)\b", re.IGNORECASE
)
_PART_BEFORE = re.compile(
    r"\b(?:each|every|per|jedes?|chaque|cada)\b[^.!?,;:\n]{0,40}\Z|每[^。！？，；：\n]{0,8}\Z", re.IGNORECASE
)
_LEAST = re.compile(rf"(?:{_AT_LEAST})\s*\Z", re.IGNORECASE)
_MOST = re.compile(rf"(?:{_AT_MOST})\s*\Z", re.IGNORECASE)
_LEAST_AFTER = re.compile(r"\+|\s*(?:or (?:more|longer)|以上|minimum|at (?:the )?least|이상)", re.IGNORECASE)
_MOST_AFTER = re.compile(
    r"\s*(?:or (?:less|fewer|shorter)|以内|以下|之内|maximum|at (?:the )?most|이내|이하)", re.IGNORECASE
)
_VAGUE = re.compile(r"(?:[几幾数數若]|\bfew|\bseveral|\bmany)\s*\Z", re.IGNORECASE)
_COUNTED = re.compile(r"\b(?:chapter|scene|part|act|section|page|day|book|volume)\s*\Z", re.IGNORECASE)
LONGEST = 10**9  # words; a larger number is not a length
_SMALL = 50  # words; a smaller number ("in three words") is a length only if the prompt says so explicitly
EXPLICIT, LABELLED, ASKED, MENTIONED = range(4)


@dataclass(frozen=True)
class LengthRequest:
    """A length in a prompt.

    Attributes:
      least, most: of the range, in ``unit``; equal for one number. ``most`` is None for "at least", ``least`` 0 for
        "at most".
      number: the number that is used: the one in the prompt; for a range, its upper end.
      unit: ``words`` (``word_count.count_words``) or ``characters`` (``word_count.count_characters``).
      rank: how clear the request is: ``EXPLICIT`` (words long), ``LABELLED`` (word count: ...), ``ASKED`` (a 900-word
        story, about 900 words), ``MENTIONED`` (any other number of words).
      start, end: place in the prompt.
      rivals: other numbers that the prompt gives as clearly.
    """

    least: int
    most: int | None
    number: int
    unit: str
    rank: int
    start: int
    end: int
    rivals: tuple[int, ...] = ()

    @property
    def guessed(self) -> bool:
        """Whether another number may be meant: this one is only mentioned, or another one is as clear."""
        return self.rank == MENTIONED or bool(self.rivals)


def length_request(prompt: str) -> LengthRequest | None:
    """The length that a prompt asks for, or None. The clearest request counts; among equally clear ones, the first.

    Lengths of parts (``500 words per chapter``) do not count.
    """
    found = sorted(length_requests(prompt), key=lambda one: (one.rank, one.start))
    if not found:
        return None
    first = found[0]
    rivals = tuple(one.number for one in found[1:] if one.rank == first.rank and one.number != first.number)
    return replace(first, rivals=rivals)


def length_requests(prompt: str) -> list[LengthRequest]:
    """All lengths in a prompt, in order, as ``length_request`` ranks them."""
    found = [*_before_nouns(prompt), *_behind_labels(prompt)]
    found.sort(key=lambda one: (one.start, -one.end))
    apart: list[LengthRequest] = []
    for one in found:
        if apart and one.start < apart[-1].end:
            if one.rank < apart[-1].rank:
                apart[-1] = one
        else:
            apart.append(one)
    return apart


def _before_nouns(prompt: str) -> Iterator[LengthRequest]:
    for noun in _UNIT.finditer(prompt):
        unit, _, language = str(noun.lastgroup).partition("_")
        before = prompt[max(0, noun.start() - 120) : noun.start()]
        match = _number_before(language).search(before)
        if match is None:
            continue
        low, high = _range(match["low"], match["high"], language)
        whole = before[match.start() : match.end("high")]
        if match["low"] and language in SPOKEN and (one := SPOKEN[language].whole(whole)):
            low = high = one  # "twenty-four hundred" is one number
        if not high or low > high:
            continue
        start, end = noun.start() - len(before) + match.start(), noun.end()
        head, tail = prompt[:start], prompt[end:]
        if _VAGUE.search(head) or (_COUNTED.search(head) and match["low"] is None):
            continue
        rank = _rank(head, tail, prompt[noun.start() - 1 : noun.start()] == "-", language)
        if _PART_AFTER.match(tail) or _PART_BEFORE.search(head):
            continue
        if high < _SMALL and rank not in (EXPLICIT, LABELLED) and not _TEXT_NOUN.match(tail):
            continue
        if unit == "characters" and (high < _SMALL or (language == "en" and rank == MENTIONED)):
            continue  # "three characters" are people
        least, most = _bounds(low, high, head, tail, match["gap"])
        yield LengthRequest(least, most, high, unit, rank, start, end)


def _behind_labels(prompt: str) -> Iterator[LengthRequest]:
    number = re.compile(
        rf"(?:(?P<low>{_FIGURES_ZH}){_CONNECTOR})?(?P<high>{_FIGURES_ZH}|{_FIGURES}|{CHINESE}+)", re.IGNORECASE
    )
    for label in _LABEL.finditer(prompt):
        match = number.match(prompt, label.end())
        if match is None or not (after := _AFTER_LABEL.match(prompt, match.end())):
            continue
        low, high = _range(match["low"], match["high"], "zh")
        if high and low <= high:
            least, most = _bounds(low, high, prompt[: match.start()], prompt[after.end() :], "")
            yield LengthRequest(least, most, high, "words", LABELLED, label.start(), after.end())


def _rank(head: str, tail: str, hyphen: bool, language: str) -> int:
    if _EXPLICIT.match(tail):
        return EXPLICIT
    if language not in SPOKEN or _TEXT_NOUN.match(tail) or hyphen or _MODIFIER.search(head) or not head.strip():
        return ASKED
    if re.match(r"\s*(?:[.;,)\n]|\Z)", tail) and re.search(r"[.;,(\n]\s*\Z", head):
        return ASKED  # it is a clause of its own
    return MENTIONED


def _bounds(low: int, high: int, head: str, tail: str, gap: str) -> tuple[int, int | None]:
    if low != high:
        return low, high
    if _MOST.search(head) or _MOST_AFTER.match(gap) or _MOST_AFTER.match(tail):
        return 0, high
    if _LEAST.search(head) or _LEAST_AFTER.match(gap) or _LEAST_AFTER.match(tail):
        return high, None
    return low, high


@cache
def _number_before(language: str) -> re.Pattern[str]:
    """Matches a number or a range that ends at a unit noun."""
    if language == "zh":
        number, gap = rf"(?:{_FIGURES_ZH}|{CHINESE}+)", _BETWEEN_ZH
    else:
        spoken = SPOKEN.get(language)
        number = _FIGURES if spoken is None else rf"(?:{_FIGURES}|(?<!\w){spoken.pattern}(?!\w))"
        gap = _BETWEEN
    unit = (
        rf"(?:{_SPACES}*-?{_SPACES}*(?:words?|字|wörter|mots|palabras))?"
        if language in ("en", "zh", "de", "fr", "es")
        else ""
    )
    return re.compile(rf"(?:(?P<low>{number}){unit}{_CONNECTOR})?(?P<high>{number})(?P<gap>{gap})\Z", re.IGNORECASE)


def _range(low: str | None, high: str, language: str) -> tuple[int, int]:
    """The two numbers of a range; 0 for a missing one. ``2-3k`` is 2,000 to 3,000."""
    ends, scale = _number(high, language)
    if ends is None:
        return 0, 0
    if low is None:
        return ends
    begins, own = _number(low, language)
    if begins is None:
        return ends
    first = begins[0]
    if own == 1 and scale > 1 and first * scale <= ends[1]:
        first *= scale
    return (first, ends[1]) if first <= ends[1] else ends


def _number(text: str, language: str) -> tuple[tuple[int, int] | None, int]:
    """``((least, most), scale)`` of one number; the first is None for no number, or one too large."""
    text = text.strip().lower()
    if not any(character.isdigit() for character in text):
        if re.fullmatch(rf"{CHINESE}+", text):
            found = read_chinese(text)
            return found, next((10_000 if c in "万萬" else 1_000 for c in reversed(text) if c in "千仟万萬"), 1)
        value = SPOKEN[language].read(text) if language in SPOKEN else None
        return (None if not value else (value, value)), 1_000 if value and value % 1_000 == 0 else 1
    match = re.match(r"[\d.,'’，\u00a0\u2009\u202f ]*\d", text)
    assert match is not None
    rest = text[match.end() :].strip(" \u00a0\u2009\u202f-.")
    scale = next((_THOUSANDS[mark] for mark in (rest, rest[:1]) if mark in _THOUSANDS), 1)
    figures = re.sub(r"[\u00a0\u2009\u202f '’]", "", match[0]).replace("，", ",")
    grouped = re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", figures)
    if grouped and scale == 1:
        figures = re.sub(r"[.,]", "", figures)
    if len(figures) > 12:
        return None, scale
    size: float = int(figures) if figures.isdigit() else float(figures.replace(",", "."))
    if len(rest) == 3 and rest[0] in "万萬":  # 1万5千
        size = size * 10 + int(rest[1])
        scale = 1_000
    whole = round(size * scale)
    counted = whole <= LONGEST and abs(whole - size * scale) < 1e-6
    return ((whole, whole) if counted else None), scale
