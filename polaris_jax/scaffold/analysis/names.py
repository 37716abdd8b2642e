"""Finds the proper names of a novel and groups them into people and places, without a model.

A word is a name if it is capitalised inside sentences and hardly ever in lower case. Neighbouring words then vote:
speech verbs and titles for a person, prepositions of place for a place.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

from polaris_jax.scaffold.analysis.lexicons import (
    FUNCTION_WORDS,
    NOT_NAMES,
    SPEECH_VERBS,
    TITLES,
    TITLES_FEMALE,
    TITLES_MALE,
    word_set,
)
from polaris_jax.scaffold.analysis.sentences import WORD
from polaris_jax.scaffold.analysis.verbs import is_past

# words that do not begin with a small ASCII letter; scanning only these is faster
_CAPITALISED = re.compile(r"(?<![^\W_])(?<!['’])[^\W_a-z][^\W_]*(?:['’][^\W_]+)*")
_PLACE_BEFORE = word_set("in at near into through across over from toward towards around")


@dataclass(frozen=True)
class Entity:
    """A named person or place.

    Attributes:
      aliases: surface forms as printed, most frequent first.
      count: mentions in the whole novel.
      gender: ``m``, ``f`` or ``?``.
    """

    aliases: tuple[str, ...]
    count: int
    person: bool
    gender: str

    @property
    def full(self) -> str:
        """First name and surname if the first name is in use; else the most frequent form of two words."""

        def rank(alias: str) -> tuple[bool, bool]:
            parts = alias.replace(".", "").split()
            in_use = parts[0] in self.aliases or alias == self.aliases[0]
            return len(parts) > 1 and parts[0].lower() not in TITLES and in_use, len(parts) > 1

        return max(self.aliases[:4], key=rank)

    @property
    def short(self) -> str:
        """The most frequent form."""
        return self.aliases[0]

    def form_in(self, text: str, full: bool = True) -> str | None:
        """The preferred alias that occurs in ``text``."""
        preferred = (self.full, *self.aliases) if full else self.aliases
        return next((alias for alias in preferred if alias in text), None)


@dataclass(frozen=True)
class Mention:
    """A run of name words: surface form, its non-title words, its title, and the character offset."""

    surface: str
    core: tuple[str, ...]
    title: str
    start: int
    end: int


def bare(word: str) -> str:
    """A word without a possessive ending."""
    return word[:-2] if word.endswith(("’s", "'s")) else word


def name_words(text: str) -> frozenset[str]:
    """The capitalised words of ``text`` that behave like names."""
    inside: Counter[str] = Counter()
    lower: Counter[str] = Counter()
    for match in WORD.finditer(text):
        word = bare(match.group())
        if word[0].islower():
            lower[word] += 1
        elif word[0].isupper() and len(word) > 1 and word[1:].islower() and word.isalpha():
            before = text[max(0, match.start() - 2) : match.start()]
            if (
                len(before) == 2
                and (before[1] == " " and (before[0].isalnum() or before[0] in ",;’'-."))
                and not _opens(text, match.start())
            ):
                inside[word] += 1
    floor = 2 if sum(lower.values()) > 20_000 else 1
    return frozenset(
        word
        for word, n in inside.items()
        if n >= floor and n > 1.5 * lower[word.lower()] and word.lower() not in NOT_NAMES | TITLES | FUNCTION_WORDS
    )


def _opens(text: str, start: int) -> bool:
    """Whether the word at ``start`` follows a full stop that is not the stop of a title."""
    before = text[max(0, start - 8) : start].rstrip()
    if not before.endswith("."):
        return False
    last = WORD.findall(before)
    return not (last and last[-1].lower() in TITLES)


def _belongs(text: str, before: tuple[str, int, int], start: int) -> bool:
    """Whether a capitalised word just before a name belongs to it: in ``Black Dog``, not at the start of a sentence."""
    word, first, end = before
    inside = first > 1 and text[first - 1] == " " and (text[first - 2].isalnum() or text[first - 2] in ",;")
    return (
        text[end:start] == " "
        and inside
        and len(word) > 2
        and word.isalpha()
        and not word.isupper()
        and word.lower() not in FUNCTION_WORDS | TITLES
    )


def mentions(text: str, names: frozenset[str]) -> list[Mention]:
    """Every run of name words in ``text``, with a preceding title if there is one."""
    found: list[Mention] = []
    run: list[tuple[str, int, int]] = []
    before: tuple[str, int, int] | None = None

    def close() -> None:
        core = tuple(bare(word) for word, _, _ in run if word.lower() not in TITLES)
        title = run[0][0].lower() if run and run[0][0].lower() in TITLES else ""
        if core:
            end = run[-1][2] - (len(run[-1][0]) - len(bare(run[-1][0])))
            found.append(Mention(text[run[0][1] : end].replace("\n", " "), core, title, run[0][1], end))
        run.clear()

    for match in _CAPITALISED.finditer(text):
        word, start = match.group(), match.start()
        if not word[0].isupper():
            if run:
                close()
            continue
        is_name = bare(word) in names
        is_title = word.lower() in TITLES
        if run:
            gap = text[run[-1][2] : start]
            joined = gap in (" ", "\n") or (gap in (". ", ".\n") and run[-1][0].lower() in TITLES)
            if not joined or run[-1][0] != bare(run[-1][0]) or not is_name or len(run) >= 4:
                close()
        if is_name and not run and before and _belongs(text, before, start):
            run.append((before[0], before[1], before[2]))
        if is_name or (is_title and not run):
            run.append((word, start, match.end()))
        before = (word, start, match.end())
    close()
    return found


def find_entities(text: str) -> tuple[Entity, ...]:
    """People and places of a novel, most mentioned first."""
    names = name_words(text)
    surfaces: dict[tuple[str, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    votes: dict[tuple[str, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    for mention in mentions(text, names):
        key = (mention.title, mention.core)
        surfaces[key][mention.surface] += 1
        before = WORD.findall(text[max(0, mention.start - 20) : mention.start])
        after = [bare(w).lower() for w in WORD.findall(text[mention.end : mention.end + 60])[:14]]
        previous = before[-1].lower() if before else ""
        vote = votes[key]
        following = after[0] if after else ""
        if previous in SPEECH_VERBS or following in SPEECH_VERBS:
            vote["person"] += 3
        elif following and is_past(following) and text[mention.end : mention.end + 1] == " ":
            vote["person"] += 1
        vote["place"] += 2 * (previous in _PLACE_BEFORE) + (previous == "of")
        vote["the"] += previous == "the"
        vote["m"] += sum(w in ("he", "him", "his", "himself") for w in after)
        vote["f"] += sum(w in ("she", "her", "hers", "herself") for w in after)
    return _group(surfaces, votes)


def _gender(title: str, vote: Counter[str]) -> str:
    if title in TITLES_MALE or title in TITLES_FEMALE:
        return "m" if title in TITLES_MALE else "f"
    if vote["m"] + vote["f"] < 4:
        return "?"
    return "m" if vote["m"] > 1.6 * vote["f"] else "f" if vote["f"] > 1.6 * vote["m"] else "?"


def _group(surfaces: dict, votes: dict) -> tuple[Entity, ...]:
    """Joins ``Miss Torrey``, ``Agnes`` and ``Agnes Torrey``, unless their genders disagree."""
    totals = {key: sum(counter.values()) for key, counter in surfaces.items()}
    genders = {key: _gender(key[0], votes[key]) for key in totals}
    ordered = sorted(totals, key=lambda key: (-len(key[1]), -totals[key], key))
    heads: list[tuple[str, tuple[str, ...]]] = []
    members: dict[tuple, list[tuple]] = {}
    by_word: dict[str, list[tuple]] = defaultdict(list)
    for key in ordered:
        title, core = key
        hosts = []
        for host in by_word.get(core[0], []):
            subset = core == host[1] or (core[0] == host[1][0] and len(core) == 1 and not title) or core == host[1][-1:]
            titled = bool(title or host[0])
            clash = titled and {genders[key], genders[host]} == {"m", "f"}
            if subset and not clash:
                hosts.append(host)
        if title and len(core) == 1 and len(hosts) > 1:  # several people share the surname: only the same title joins
            hosts = [host for host in hosts if host[0] == title]
        if hosts:
            host = max(hosts, key=lambda h: (core[0] == h[1][0], totals[h], h))
            members[host].append(key)
            if genders[host] == "?":
                genders[host] = genders[key]
        else:
            heads.append(key)
            members[key] = [key]
            for word in {core[0], core[-1]}:
                by_word[word].append(key)
    entities = []
    for head in heads:
        forms: Counter[str] = Counter()
        vote: Counter[str] = Counter()
        for key in members[head]:
            forms.update(surfaces[key])
            vote.update(votes[key])
        titled = any(key[0] for key in members[head])
        person = (
            titled
            or vote["person"] > vote["place"] + 2 * vote["the"]
            or (vote["place"] == 0 == vote["the"] and vote["m"] + vote["f"] > 1)
        )
        gender = next((genders[key] for key in members[head] if key[0] and genders[key] != "?"), "") or _gender(
            "", vote
        )
        aliases = tuple(sorted(forms, key=lambda form: (-forms[form], form)))
        if person or vote["place"] > 0:
            entities.append(Entity(aliases, sum(forms.values()), bool(person), gender))
    return tuple(sorted(entities, key=lambda entity: (-entity.count, entity.aliases)))
