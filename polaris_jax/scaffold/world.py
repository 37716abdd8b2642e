"""World rules, writing style and tags from what can be counted in the prose."""

import re
from collections import Counter
from functools import lru_cache

from polaris_jax.scaffold.annotator import Context
from polaris_jax.scaffold.lexicons import (
    ARCHAIC,
    FAITH,
    LAW,
    LETTERS,
    LIGHT,
    MONEY,
    NATURE,
    SETTINGS,
    TRANSPORT,
    stem,
)  # fmt: skip
from polaris_jax.scaffold.profile import Bound
from polaris_jax.scaffold.ranking import general_notes, listing
from polaris_jax.scaffold.sentences import dialogue_share, sentences, words
from polaris_jax.scaffold.study import central_words, mean_sentence_length, study
from polaris_jax.scaffold.vectors import score

_FACTS = (
    (MONEY, "Money is reckoned in {} and everyone knows the price of things."),
    (TRANSPORT, "People and goods move by {}."),
    (LAW, "Disputes come in the end before the {}."),
    (FAITH, "Common life is measured by the {}."),
    (LETTERS, "News from outside travels by {}."),
    (LIGHT, "After dark people see by {}."),
    (NATURE, "What can be done depends on {}."),
)  # fmt: skip


def places(context: Context, limit: int) -> list[str]:
    """Names of the volume's places, most mentioned first."""
    known = study(context.novel)
    counts = known.mentioned(context.volume)
    ranked = sorted((e for e in counts if not e.person), key=lambda e: (-counts[e], e.aliases))
    forms = [form for entity in ranked if (form := entity.form_in(context.volume, full=False))]
    return list(dict.fromkeys(forms))[:limit]


def rules(context: Context, bound: Bound) -> tuple[str, ...]:
    """How this world works: its places, what holds it together, its customs as the narration states them."""
    known = study(context.novel)
    counts = Counter(word.lower() for word in words(context.volume))
    where = places(context, 3)
    lines = [f"The story keeps to {listing(where)} and what lies near."] if where else []
    matters = central_words(context.volume, known, 3)
    customs = general_notes(context.volume, context.novel, max(1, bound.count // 3), bound.words)
    lines += customs[:1]
    if matters:
        lines.append(f"Most of what happens turns on {listing(['the ' + noun for noun in matters])}.")
    for lexicon, form in _FACTS:
        named = {w: counts[w] + counts[w + "s"] for w in lexicon if w.removesuffix("s") not in lexicon - {w}}
        seen = sorted((w for w in named if named[w] > 1), key=lambda w: (-named[w], w))[:2]
        if seen:
            lines.append(form.format(listing(seen)))
    lines += customs[1:]
    kept = [line for line in lines if known.copies(line) is None]
    return tuple(kept[: bound.count]) or ("The world is small and its few rules go without saying.",)


def style(context: Context, bound: Bound) -> tuple[str, ...]:
    """How the prose is made, most telling facts first."""
    known = study(context.novel)
    text = context.volume
    all_words = words(text)
    total = max(1, len(all_words))
    counts = Counter(word.lower() for word in all_words)
    person = (
        "First person, told by an I inside the story" if known.first_person else "Third person, close to its people"
    )
    mean = mean_sentence_length(text, known)
    length = "short and plain" if mean < 12 else "of middling length" if mean < 20 else "long and winding"
    share = dialogue_share(text, known.quotes)
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
    semicolons = text.count(";") / max(1, len(sentences(text, known.quotes)))
    similes = len(re.findall(r"\b(?:like an?|as if|as though)\b", text, re.I)) * 1000 / total
    archaic = sum(counts[word] for word in ARCHAIC) * 1000 / total
    lines = [
        f"{person}, in the {'past' if known.past else 'present'} tense.",
        f"Sentences are {length}, about {round(mean)} words on average.",
        f"There is {speech}; near {round(100 * share)} percent is spoken.",
        f"Paragraphs are {size}, about {round(block)} words each.",
        "Clauses are chained with semicolons." if semicolons > 0.15 else "Sentences close firmly, with few semicolons.",
    ]
    if similes > 1.2:
        lines.append("Comparisons with everyday objects carry the feeling.")
    if archaic > 4:
        lines.append("The vocabulary is of an older day and slightly formal.")
    if text.count("!") * 1000 / total > 6:
        lines.append("Exclamations keep the voice excited.")
    concrete = central_words(text, known, 4)
    if len(concrete) > 2:
        lines.append(f"Returns to concrete things such as {listing(['the ' + noun for noun in concrete])}.")
    return tuple(lines[: bound.count])


def genres(context: Context, limit: int) -> list[str]:
    """Settings whose words are most frequent in the novel."""
    scores = _settings(context.novel)
    return sorted(scores, key=lambda name: (-scores[name], name))[:limit]


@lru_cache(maxsize=4)
def _settings(novel: str) -> dict[str, float]:
    stems = Counter(stem(word.lower()) for word in words(novel))
    return {name: sum(min(stems[word], 400) for word in lexicon) / len(lexicon) for name, lexicon in SETTINGS.items()}


def tags(context: Context) -> list[str]:
    """Seven different tags: setting, telling, tempo, and the things of this volume."""
    known = study(context.novel)
    vector = score(context.volume, known.quotes)
    first, second, third = genres(context, 3)
    options = [
        first,
        "first person narrative" if known.first_person else "third person narrative",
        second,
        "dialogue driven" if vector.dialog > 45 else "narrated at length" if vector.dialog < 12 else "scenes and talk",
        "physical action" if vector.action > 40 else "love story" if vector.romantic > 35 else "quiet tension",
        *(f"the {noun}" for noun in central_words(context.volume, known, 2)),
        "brisk pace" if vector.pacing > 55 else "measured pace",
        third, "past tense" if known.past else "present tense", "novel",
    ]  # fmt: skip
    return list(dict.fromkeys(options))[:7]
