"""World rules, writing style and tags from counts over the prose."""

import re
from collections import Counter
from collections.abc import Collection

from polaris_jax.scaffold.analysis.lexicons import (
    ARCHAIC,
    FAITH,
    LAW,
    LETTERS,
    LIGHT,
    MONEY,
    NATURE,
    TRANSPORT,
)
from polaris_jax.scaffold.analysis.novel_stats import analyse, central_words, mean_sentence_length
from polaris_jax.scaffold.analysis.sentences import dialogue_share, sentences, words
from polaris_jax.scaffold.annotator import Context
from polaris_jax.scaffold.offline.ranking import general_notes, listing
from polaris_jax.scaffold.profile import Bound

_KINDS = (
    (MONEY, "money"),
    (TRANSPORT, "transport"),
    (LAW, "law"),
    (FAITH, "faith"),
    (LETTERS, "letters"),
    (LIGHT, "light"),
    (NATURE, "weather and land"),
)


def places(context: Context, limit: int) -> list[str]:
    """Names of the volume's places, most mentioned first."""
    stats = analyse(context.novel)
    counts = stats.mentioned(context.volume)
    ranked = sorted((e for e in counts if not e.person), key=lambda e: (-counts[e], e.aliases))
    forms = [form for entity in ranked if (form := entity.form_in(context.volume, full=False))]
    return list(dict.fromkeys(forms))[:limit]


def rules(context: Context, bound: Bound, used: Collection[str] = (), counted: int = 99) -> tuple[str, ...]:
    """Rules of the story's world: places and words for common things (at most ``counted`` lines), and customs.

    Customs are taken from general statements of the narration, none of them in ``used``.
    """
    stats = analyse(context.novel)
    counts = Counter(word.lower() for word in words(context.volume))
    where = places(context, 3)
    counts_of = [f"The place{'s' * (len(where) > 1)} named most: {listing(where)}."] if where else []
    customs = [
        line
        for line in general_notes(context.volume, context.novel, max(1, bound.count // 2), bound.words)
        if line not in used
    ]
    matters = central_words(context.volume, stats, 3)
    if matters:
        counts_of.append(f"The nouns that mark this text most are {listing(list(matters))}.")
    for lexicon, kind in _KINDS:
        named = {w: counts[w] + counts[w + "s"] for w in lexicon if w.removesuffix("s") not in lexicon - {w}}
        seen = sorted((w for w in named if named[w] > 1), key=lambda w: (-named[w], w))[:3]
        if seen:
            counts_of.append(f"Words of {kind}: {listing([f'{word} ({named[word]})' for word in seen])}.")
    counts_of = counts_of[: max(counted, not customs)]
    lines = [*counts_of[:1], *customs[:1], *counts_of[1:], *customs[1:]]
    kept = [line for line in lines if stats.copies(line) is None]
    return tuple(kept[: bound.count]) or ("No place, custom or craft is named often enough to count.",)


def style(context: Context, bound: Bound) -> tuple[str, ...]:
    """Facts about the style of the prose, most informative first."""
    stats = analyse(context.novel)
    text = context.volume
    all_words = words(text)
    total = max(1, len(all_words))
    counts = Counter(word.lower() for word in all_words)
    person = "First person, told by an I" if stats.first_person else "Third person"
    mean = mean_sentence_length(text, stats)
    length = "short" if mean < 12 else "of middling length" if mean < 20 else "long"
    share = dialogue_share(text, stats.quotes)
    speech = (
        "almost no spoken words"
        if share < 0.05
        else "sparing dialogue between stretches of narration"
        if share < 0.25
        else "a good deal of dialogue within the narration"
        if share < 0.4
        else "speech and narration in balance"
        if share < 0.55
        else "talk above all, with little narration between"
    )
    paragraphs = [len(p.split()) for p in text.split("\n\n") if p.strip()] or [0]
    block = sum(paragraphs) / len(paragraphs)
    size = "brief" if block < 50 else "full" if block < 110 else "very long"
    semicolons = text.count(";") / max(1, len(sentences(text, stats.quotes)))
    similes = len(re.findall(r"\b(?:like an?|as if|as though)\b", text, re.I)) * 1000 / total
    archaic = sum(counts[word] for word in ARCHAIC) * 1000 / total
    lines = [
        f"{person}, in the {'past' if stats.past else 'present'} tense.",
        f"Sentences are {length}, about {round(mean)} words on average.",
        f"There is {speech}; near {round(100 * share)} percent is spoken.",
        f"Paragraphs are {size}, about {round(block)} words each.",
        f"{semicolons:.2f} semicolons per sentence.",
        f"About {similes:.1f} comparisons with like, as if or as though per 1,000 words.",
        f"About {text.count('!') * 1000 / total:.1f} exclamation marks per 1,000 words.",
    ]
    if archaic > 0.5:
        lines.append(f"About {archaic:.1f} words such as upon or whilst per 1,000.")
    concrete = central_words(text, stats, 4)
    if len(concrete) > 2:
        lines.append(f"Nouns that return: {listing(list(concrete))}.")
    return tuple(lines[: bound.count])


def tags(context: Context) -> list[str]:
    """Seven different tags from counts: narrator, tense, speech, sentences, places and nouns."""
    stats = analyse(context.novel)
    spoken, mean = dialogue_share(context.volume, stats.quotes), mean_sentence_length(context.volume, stats)
    options = [
        "first person narrative" if stats.first_person else "third person narrative",
        "past tense" if stats.past else "present tense",
        "much dialogue" if spoken > 0.45 else "little dialogue" if spoken < 0.12 else "narration and dialogue",
        "short sentences" if mean < 12 else "long sentences" if mean > 22 else "sentences of middle length",
        *(f"the {noun}" for noun in central_words(context.volume, stats, 5)),
        context.form,
    ]
    return list(dict.fromkeys(options))[:7]
