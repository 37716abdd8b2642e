"""Reads numbers written in words: ``twenty-four hundred``, ``zweitausend``, ``deux mille``, ``两千四百``."""

import re
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class SpokenNumbers:
    """The number words of a language.

    Attributes:
      values: word → value; 100 and 1000 multiply the number before them.
      joints: words inside a number without a value (``and``); articles: words for 1 before a multiplier.
      compound: whether the words are written together (German).
    """

    values: dict[str, float]
    joints: tuple[str, ...] = ()
    articles: tuple[str, ...] = ()
    compound: bool = False

    @cached_property
    def pattern(self) -> str:
        """Regular expression of a number in words, without groups."""
        words = "|".join(sorted(map(re.escape, self.values), key=len, reverse=True))
        if self.compound:
            joints = "|".join(self.joints)
            return rf"(?:{words})(?:(?:{joints})?(?:{words}))*(?:[ -](?:{words})+)*"
        multipliers = "|".join(word for word, value in self.values.items() if value >= 100 or word in ("dozen", "half"))
        first = "|".join([*(rf"{one}(?=[ -]+(?:{multipliers})\b)" for one in self.articles), words])
        joints = "".join(rf"{joint}[ -]+|" for joint in self.joints)
        return rf"(?:{first})(?:[ -]+(?:{joints})(?:{first}))*"

    def whole(self, text: str) -> int | None:
        """The value of a text that is exactly one number in words; None for any other text."""
        return self.read(text) if re.fullmatch(self.pattern, text, re.IGNORECASE) else None

    def read(self, text: str) -> int | None:
        """The value of a match of ``pattern``; None if the words do not form one number."""
        parts = (
            re.findall("|".join(sorted(map(re.escape, self.values), key=len, reverse=True)), text.lower())
            if self.compound
            else re.split(r"[ -]+", text.lower())
        )
        total, group, counted = 0.0, 0.0, False
        for part in parts:
            if part in self.articles or part in self.joints:
                continue
            value = self.values[part]
            if value >= 1000:
                total, group = total + (group or 1) * value, 0.0
            elif value == 100 or part == "dozen":
                group = (group or 1) * value
            elif value >= 1 and group % 100 and not (value < 10 and group % 100 >= 20 and group % 10 == 0):
                return None  # as in "two three"
            else:
                group += value
            counted = True
        found = total + group
        return int(found) if counted and found == int(found) else None


def _table(
    small: str, tens: str, hundred: str, thousand: str, more: dict[str, float] | None = None
) -> dict[str, float]:
    """Values of words: units listed from 1, tens listed from 20, and multipliers."""
    found: dict[str, float] = {}
    for number, names in enumerate(small.split(), 1):
        found |= dict.fromkeys(names.split("/"), float(number))
    for number, names in enumerate(tens.split(), 2):
        found |= dict.fromkeys(names.split("/"), 10.0 * number)
    found |= dict.fromkeys(hundred.split("/"), 100.0) | dict.fromkeys(thousand.split("/"), 1000.0)
    return found | (more or {})


SPOKEN = {
    "en": SpokenNumbers(
        _table(
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen",
            "twenty thirty forty/fourty fifty sixty seventy eighty ninety",
            "hundred",
            "thousand",
            {"half": 0.5, "dozen": 12.0},
        ),
        joints=("and",),
        articles=("a", "an"),
    ),
    "de": SpokenNumbers(
        _table(
            "ein/eine/eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
            "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
            "hundert",
            "tausend",
        ),
        joints=("und",),
        compound=True,
    ),
    "fr": SpokenNumbers(
        _table(
            "un/une deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize",
            "vingt trente quarante cinquante soixante",
            "cent/cents",
            "mille",
        ),
        joints=("et",),
    ),
    "es": SpokenNumbers(
        _table(
            "un/una dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince",
            "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
            "cien/ciento",
            "mil",
            {
                f"{stem}cient{end}": 100.0 * number
                for number, stem in enumerate(["dos", "tres", "cuatro", "quinien", "seis", "sete", "ocho", "nove"], 2)
                for end in ("os", "as")
            }
            | {"quinientos": 500.0, "quinientas": 500.0},
        ),
        joints=("y",),
    ),
    "it": SpokenNumbers(
        _table(
            "uno/una due tre quattro cinque sei sette otto nove dieci undici dodici",
            "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
            "cento",
            "mille/mila",
        ),
        compound=True,
        joints=("e",),
    ),
    "pt": SpokenNumbers(
        _table(
            "um/uma dois/duas três quatro cinco seis sete oito nove dez onze doze treze catorze quinze",
            "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
            "cem/cento",
            "mil",
            {"duzentas": 200.0, "trezentas": 300.0, "quatrocentas": 400.0, "quinhentas": 500.0, "seiscentas": 600.0}
            | {"setecentas": 700.0, "oitocentas": 800.0, "novecentas": 900.0},
        ),
        joints=("e",),
    ),
}

CHINESE = r"[〇零一二两兩三四五六七八九十百千万萬壹贰叁肆伍陆柒捌玖拾佰仟]"
_DIGITS = dict(zip("〇零一二两兩三四五六七八九", (0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_DIGITS |= dict(zip("壹贰叁肆伍陆柒捌玖", range(1, 10), strict=True))
_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_TEN_THOUSAND = "万萬"


def read_chinese(text: str) -> tuple[int, int] | None:
    """A number in Chinese or Japanese numerals, as a range: ``两千`` is (2000, 2000), ``两三千`` is (2000, 3000)."""
    total, group, low = 0, 0, None
    digits: list[int] = []
    for character in text:
        if character in _DIGITS:
            digits.append(_DIGITS[character])
        elif character in _UNITS or character in _TEN_THOUSAND:
            unit = _UNITS.get(character, 10_000)
            if len(digits) == 2 and digits[1] == digits[0] + 1 and not group and not total:
                low = digits[0] * unit  # 两三千: the two digits are alternatives
                digits = digits[1:]
            value = int("".join(map(str, digits))) if digits else None
            if unit == 10_000:
                total, group = (total + group + (value or 0) or 1) * unit, 0
            else:
                group += (1 if value is None else value) * unit
            digits = []
    if digits:
        # 两千四 means 2400: a last digit counts in the unit below the last one, unless a zero stands between.
        below = _UNITS.get(text[-2], 10_000 if text[-2] in _TEN_THOUSAND else 0) if len(text) > 1 else 0
        tail = int("".join(map(str, digits)))
        group += tail * below // 10 if len(digits) == 1 and below >= 100 else tail
    found = total + group
    return (low if low is not None else found, found) if found else None
