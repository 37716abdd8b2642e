"""Chooses the most important sentences of a passage and makes notes of them, in order."""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from polaris_jax.scaffold.analysis.lexicons import (
    ACTION,
    GENERAL,
    ROLES_FEMALE,
    ROLES_MALE,
    SPEECH_VERBS,
    stem,
    word_set,
)
from polaris_jax.scaffold.analysis.names import Entity
from polaris_jax.scaffold.analysis.novel_stats import NovelStats, analyse
from polaris_jax.scaffold.analysis.sentences import narration, quoted_spans, sentences, words
from polaris_jax.scaffold.offline.notes import content, note

_CLAUSE = re.compile(r"([.,;:!?…]+|\s?(?:—|–|--)\s?)")
_MARKS = " \t\n'\"“”‘’«»-—_"
# The beginning of a sentence with a main clause.
_OPENS = re.compile(
    r"(?!(?:When|If|Because|That|Which|Who|Whose|As|Than|And|Or|Of|Though|Until|Till|While|For|With|In|By|At)\b)[A-Z]"
    r"(?!.*\b(?:the|a|an|of|to|and|or|in|with|for|my|your|his|her|its|our|their)$)"
)
_LEANING = word_set("it they this that these those his her their its")
_UNFIT = re.compile(r"[“”\"«»_()\[\]<>*]")
_TRIED = 24  # sentences of a stretch that are tried, best first
_MEMORY = 3  # sentences after which a pronoun is no longer resolved
_ROLE = re.compile(rf"\b(the|this|our) (?:[a-z]+ )?({'|'.join(sorted(ROLES_FEMALE | ROLES_MALE))})\b", re.I)
_ALIKE = 0.55  # notes that share more of their content words than this say the same


@dataclass(frozen=True)
class NoteCandidate:
    """A sentence that could become a note: its place in the passage, its score, and whom its pronouns mean.

    ``subject`` is the name that an opening he or she stands for; ``referents`` holds the last named man and woman.
    """

    place: int
    score: float
    text: str
    subject: str | None
    referents: tuple[tuple[str, str], ...]


@lru_cache(maxsize=2048)
def candidates(text: str, novel: str) -> tuple[NoteCandidate, ...]:
    """All narrated sentences of ``text`` with a score: central words, a named subject and actions raise it, vague
    openings lower it."""
    stats = analyse(novel)
    found = sentences(text, stats.quotes)
    counts = Counter(word.lower() for word in words(text))
    last: dict[str, tuple[int, str]] = {}
    result = []
    for place, sentence in enumerate(found):
        named = stats.mentions(sentence.text)
        tokens = [word.lower() for word in words(sentence.text)]
        recent = {gender: name for gender, (seen, name) in last.items() if place - seen <= _MEMORY}
        subject = recent.get({"he": "m", "she": "f"}.get(tokens[0], ""))
        if sentence.quoted == 0 and 5 <= len(tokens) <= 70:
            central = sum(stats.weight(word) * min(counts[word], 4) for word in set(tokens)) / (len(tokens) + 6)
            people = sum(1 for entity, _, _ in named if entity.person)
            deeds = sum(1 for word in tokens if stem(word) in ACTION)
            score = central + 0.9 * min(people, 2) + 0.35 * min(deeds, 2)
            score += 0.8 * bool(named and named[0][1] < 12)  # a name near the front is the subject
            score += 0.3 * (place == 0) + 0.3 * (place == len(found) - 1) + 0.6 * bool(subject)
            score -= 0.8 * (tokens[0] in ("it", "there", "this", "that", "what", "they", "these", "such", "if", "nor"))
            score -= 1.2 * (tokens[0] in ("he", "she") and not subject) + 1.5 * sentence.text.rstrip("”’\"'").endswith(
                "?"
            )
            score -= 0.5 * (len(tokens) < 7) + 0.7 * ("you" in tokens or "your" in tokens)
            result.append(NoteCandidate(place, score, sentence.text, subject, tuple(sorted(recent.items()))))
        told = (
            narration(sentence.text, stats.quotes)
            if 0 < sentence.quoted < 1
            else sentence.text * (sentence.quoted == 0)
        )
        spots = [
            (start, entity.gender, told[start:end]) for entity, start, end in stats.mentions(told) if entity.person
        ]
        spots += [
            (m.start(), "f" if m.group(2) in ROLES_FEMALE else "m", f"the {m.group(2)}") for m in _ROLE.finditer(told)
        ]
        for _, gender, name in sorted(spots):
            if gender != "?":
                last[gender] = (place, name)
    return tuple(result)


def rarely_alike(line: str, kept: list[str]) -> bool:
    """Whether a note differs enough from the kept ones."""
    mine = content(line)
    return all(len(mine & content(other)) <= _ALIKE * max(1, min(len(mine), len(content(other)))) for other in kept)


def notes_from(
    text: str, novel: str, count: int, budget: int, skip: Collection[str] = (), essay: bool = False
) -> list[str]:
    """At most ``count`` notes of at most ``budget`` words on ``text``, in order.

    The passage is cut into ``count`` stretches and each gives its best sentence, so that the notes cover all of it.
    ``skip`` holds notes used elsewhere; ``essay`` is passed to ``note``.
    """
    stats = analyse(novel)
    pool = candidates(text, novel)
    total = len(sentences(text, stats.quotes)) or 1
    chosen: list[tuple[int, str]] = []
    for stretch in range(count):
        low, high = total * stretch / count, total * (stretch + 1) / count
        here = sorted((c for c in pool if low <= c.place < high), key=lambda c: (-c.score, c.place))[:_TRIED]
        others = [line for _, line in chosen]

        made = ((c.place, note(c.text, stats, budget, dict(c.referents), essay)) for c in here)
        fit = (
            (place, line)
            for place, line in made
            if line and line not in skip and len(line.split()) >= min(6, budget) and rarely_alike(line, others)
        )
        if best := next(fit, None):
            chosen.append(best)
            continue
        spoken = conversation(_stretch(text, stats, low, high), novel, {*skip, *others})
        if spoken and rarely_alike(spoken, others):
            chosen.append((int(low), spoken))
    return [line for _, line in sorted(chosen)]


def _stretch(text: str, stats: NovelStats, low: float, high: float) -> str:
    return "\n\n".join(s.text for i, s in enumerate(sentences(text, stats.quotes)) if low <= i < high)


def speakers(text: str, stats: NovelStats) -> list[Entity]:
    """People whose name stands beside a speech verb, most talkative first."""
    told = narration(text, stats.quotes)
    found: Counter[Entity] = Counter()
    for entity, start, end in stats.mentions(told):
        before = re.findall(r"[^\W_]+", told[max(0, start - 24) : start].lower())
        after = re.findall(r"[^\W_]+", told[end : end + 24].lower())
        if entity.person and (SPEECH_VERBS & set(before[-1:]) or SPEECH_VERBS & set(after[:1])):
            found[entity] += 1
    return [entity for entity, _ in found.most_common()]


def conversation(text: str, novel: str, skip: Collection[str] = ()) -> str | None:
    """One line of speech: a whole clause of four to seven words, with the speaker if the paragraph names one.

    Seven words are too few to count as a copy of the prose (specification 2.6). ``skip`` holds lines already used.
    """
    stats = analyse(novel)
    found: list[tuple[bool, float, int, str]] = []
    for place, paragraph in enumerate(text.split("\n\n")):
        spans = quoted_spans(paragraph, stats.quotes)
        tagged = speakers(paragraph, stats) if spans else []
        name = tagged[0].form_in(text, full=False) if len(tagged) == 1 else None
        for start, end in spans:
            parts = _CLAUSE.split(" ".join(paragraph[start:end].strip(_MARKS).split()))
            for clause, mark in zip(parts[::2], [*parts[1::2], ""], strict=True):
                said = clause.strip(_MARKS)
                if 4 <= len(said.split()) <= 7 and _OPENS.match(said) and not _UNFIT.search(said):
                    worth = sum(stats.weight(word) for word in words(said))
                    line = _quoted(said, mark[-1:] if mark[-1:] in ("?", "!") else "", name)
                    found.append((name is None, -worth, place, line))
    for _, worth, _, line in sorted(found):
        if worth < 0 and line not in skip and stats.copies(line) is None:
            return line
    return None


def _quoted(said: str, mark: str, name: str | None) -> str:
    """A line of speech with its speaker, if known; ``mark``: ``?``, ``!`` or none."""
    if name is None:
        return f"“{said}{mark or '.'}”"
    return f"“{said}{mark or ','}” {'asks' if mark == '?' else 'says'} {name}."


def listing(items: list[str]) -> str:
    """``a, b and c``."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def general_notes(text: str, novel: str, count: int, budget: int) -> list[str]:
    """Notes from general statements: about custom, law, people in general."""
    stats = analyse(novel)
    scored = []
    for candidate in candidates(text, novel):
        tokens = {word.lower() for word in words(candidate.text)}
        general = len(tokens & GENERAL) + 0.5 * len(tokens & {"there", "were", "was"})
        named = any(entity.person for entity, _, _ in stats.mentions(candidate.text))
        leans = candidate.text.split()[0].lower() in _LEANING  # it says little without the sentence before
        if general >= 1 and not leans and tokens.isdisjoint({"he", "she", "i"}):
            scored.append((-(general - named), candidate.place, candidate))
    lines: list[str] = []
    for _, _, candidate in sorted(scored, key=lambda item: item[:2])[: 4 * count]:
        line = note(candidate.text, stats, budget, dict(candidate.referents))
        if line and len(line.split()) >= 6 and rarely_alike(line, lines):
            lines.append(line)
        if len(lines) == count:
            break
    return lines
