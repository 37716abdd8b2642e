"""The preview (highlight, title, tags, archetype) and the user requests that a book would answer."""

import hashlib
import random
from collections.abc import Sequence

from polaris_jax.scaffold.analysis.novel_stats import analyse, central_words
from polaris_jax.scaffold.annotator import LENGTHS, PROMPTS_PER_BOOK, Context
from polaris_jax.scaffold.offline.cast import figures
from polaris_jax.scaffold.offline.ranking import listing
from polaris_jax.scaffold.offline.world import places, rules, style, tags
from polaris_jax.scaffold.profile import Bound
from polaris_jax.trajectory import Preview, count_words

_REGISTERS = {
    "neutral": ("Write {kind}.", "The {form} should", "Give me the story itself and nothing before it."),
    "casual": (
        "I'd love to read {kind}.",
        "It would be great if it could",
        "Just dive straight in, no introduction needed.",
    ),
    "formal": (
        "Please compose {kind}.",
        "The work is expected to",
        "Kindly begin with the text itself, without prefatory remarks.",
    ),
    "urgent": ("I need {kind}, and soon.", "It has to", "No preamble, please; begin at once."),
}


def _article(phrase: str) -> str:
    return f"{'an' if phrase[:1].lower() in 'aeiou' else 'a'} {phrase}"


def _sentences_within(parts: Sequence[str], least: int, most: int) -> str:
    """Joins sentences until they have ``least`` words; leaves out any that would exceed ``most``."""
    text = ""
    for part in parts:
        if count_words(text) >= least:
            break
        if count_words(text) + count_words(part) <= most:
            text = f"{text} {part}".strip()
    return text


def highlight(facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], aim: int) -> str:
    """55-140 words: names of people and places, plot steps from the short arcs, and counts over the text."""
    stats = analyse(context.novel)
    cast = [figure.name for figure in figures(chapters, context)[:5]]
    where, things = places(context, 3), central_words(context.volume, stats, 5)
    steps = [facts[len(facts) * i // 5] for i in range(min(5, len(facts)))]
    parts = [
        f"The person named most is {cast[0]}." if cast else "No person is named.",
        f"The text is set down in {len(chapters)} chapters and names {listing(where)} as places." if where else "",
        *steps[:3],
        f"Others named often are {listing(cast[1:])}." if len(cast) > 1 else "",
        f"The nouns that mark it most are {listing(list(things))}." if len(things) > 1 else "",
        *steps[3:],
        *style(context, Bound(9, 24)),
    ]
    return _sentences_within([part for part in parts if part], aim, 130)


def archetype(context: Context, chapters: Sequence[tuple[str, str]], aim: int) -> str:
    """45-190 words: counts of how the text is told."""
    size = count_words(context.volume)
    mean = round(size / max(1, len(chapters)))
    parts = [
        *style(context, Bound(9, 24)),
        f"The text has {size:,} words in {len(chapters)} chapters, about {mean:,} words in each.",
        *rules(context, Bound(9, 20)),
    ]
    return _sentences_within(parts, aim, 150)


def preview(
    facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], words: tuple[int, int]
) -> Preview:
    """The preview of the book, from counts and the bullets of the short arcs."""
    return Preview(
        highlight(facts, context, chapters, words[0]),
        context.title,
        tuple(tags(context)),
        archetype(context, chapters, words[1]),
    )


def prompts(
    seen: Preview, facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], most_words: int
) -> tuple[str, ...]:
    """Four requests; their attributes are drawn independently, with a seed from the book (specification 2.7)."""
    seed = hashlib.sha256(f"{context.title}\0{context.author}\0{context.volume}".encode()).hexdigest()
    rng = random.Random(int(seed[:16], 16))
    classes = [c for c in LENGTHS if c[2] <= most_words] or [LENGTHS[0]]
    made = []
    for _ in range(PROMPTS_PER_BOOK):
        _, least, most, plot = rng.choices(classes, [c[0] for c in classes])[0]
        made.append(_prompt(rng, (least, most, plot), seen, facts, context, chapters))
    return tuple(made)


def _prompt(
    rng: random.Random,
    size: tuple[int, int, int],
    seen: Preview,
    facts: Sequence[str],
    context: Context,
    chapters: Sequence[tuple[str, str]],
) -> str:
    least, most, plot = size
    opener, wish, close = _REGISTERS[rng.choice(sorted(_REGISTERS))]
    wish = wish.format(form=context.form)
    whole = context.form == "novel"
    stats = analyse(context.novel)
    kind = _article(context.form)
    where, cast = places(context, 2), [figure.name for figure in figures(chapters, context)[:5]]
    if most <= 12:
        place = f" set in {where[0]}" if where and rng.random() < 0.6 else ""
        person = f" about {cast[0]}" if cast and (not place or rng.random() < 0.5) else ""
        short = opener.format(kind=kind + person + place)
        bare = f"{kind[0].upper()}{kind[1:]}{person}{place}"
        return short if count_words(short) <= 12 and rng.random() < 0.6 else bare
    near = lambda n: round(n * rng.uniform(0.9, 1.1))  # noqa: E731
    target = near(count_words(context.volume))
    length = max(50, round(target, -2 if target > 1000 else -1))
    optional = [
        (0.9, f"{wish} be told in the {'first' if stats.first_person else 'third'} person."),
        (0.8, f"The name that falls most is {cast[0]}." if cast else ""),
        (0.7, f"Set it in {listing(where)}." if where else ""),
        (0.7, f"Aim for about {length} words in {max(2, near(len(chapters)))} chapters." if whole else ""),
        (0.5, f"Other people who must appear: {listing(cast[1:])}." if len(cast) > 1 else ""),
        (0.2, f"Call it {seen.title}." if seen.title else ""),
    ]
    parts = [opener.format(kind=kind), *(text for chance, text in optional if text and rng.random() < chance)]
    revealed = rng.randint(0, min(plot, len(facts)))
    if revealed:
        parts.append("This much of the plot is settled:" if revealed > 1 else "One thing is settled:")
        parts += [facts[index] for index in sorted(rng.sample(range(len(facts)), revealed))]
    nouns = central_words(context.volume, stats, 5)
    unsaid = [fact for fact in facts if fact not in parts]
    extra = [
        f"Things that should come back: {listing(['the ' + noun for noun in nouns])}." if len(nouns) > 1 else "",
        "As for the manner of writing:",
        *style(context, Bound(8, 24)),
        *(["And these things happen:", *unsaid[: plot - revealed]] if plot > revealed and unsaid else []),
        "The world of it, in short:",
        *rules(context, Bound(14, 22)),
        "The people of it, in short:",
        *(
            f"{figure.name} comes up {figure.total} time{'s' * (figure.total > 1)}."
            for figure in figures(chapters, context)[:20]
        ),
    ]
    for line in extra:
        if count_words(" ".join(parts)) >= least:
            break
        if line:
            parts.append(line)
    if rng.random() < 0.5:
        parts.append(close)
    while count_words(" ".join(parts)) > most and len(parts) > 1:
        parts.pop()
    return " ".join(parts)
