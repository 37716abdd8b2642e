"""The preview (highlight, title, tags, archetype) and the user requests that a book would answer."""

import hashlib
import random
from collections.abc import Sequence

from polaris_jax.scaffold.annotator import Context, Preview
from polaris_jax.scaffold.cast import figures
from polaris_jax.scaffold.ranking import listing
from polaris_jax.scaffold.study import central_words, study
from polaris_jax.scaffold.vectors import score
from polaris_jax.scaffold.world import genres, places, tags
from polaris_jax.trajectory import count_words

PROMPTS_PER_BOOK = 4
# (share, fewest words, most words, plot facts) of each length class of prompts
LENGTHS = ((0.15, 3, 12, 0), (0.25, 15, 60, 1), (0.35, 100, 250, 5), (0.25, 250, 600, 8))
_REGISTERS = {
    "neutral": ("Write {kind}.", "The novel should", "Give me the story itself and nothing before it."),
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
    """Join sentences until ``least`` words are reached, leaving out any that would pass ``most``."""
    text = ""
    for part in parts:
        if count_words(text) >= least:
            break
        if count_words(text) + count_words(part) <= most:
            text = f"{text} {part}".strip()
    return text


def highlight(facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], aim: int) -> str:
    """55-140 words: where, who, three steps of the plot, and what is at stake."""
    known = study(context.novel)
    cast = [figure.name for figure in figures(chapters, context)[:4]]
    where = places(context, 2)
    things = central_words(context.volume, known, 5)
    scene = f"In and around {listing(where)}, " if where else "In a world drawn from close by, "
    lead = cast[0] if cast else "one person"
    teller = "the narrator follows" if known.first_person else "the story follows"
    opening = f"{scene}{teller} {lead} through a chain of events that begins quietly and does not stay quiet."
    rest = [
        *(facts[len(facts) * i // 4] for i in range(min(3, len(facts)))),
        f"Around them stand {listing(cast[1:])}, each with a claim of their own."
        if len(cast) > 1
        else "Nobody else is named for long.",
        f"A small matter of {listing(['the ' + t for t in things[:2]])} grows until it touches everyone."
        if len(things) > 1
        else "What looks like a small matter grows until it touches everyone.",
        "By the end the question is no longer what happened, but who is ready to answer for it.",
        "Every step is shown through plain things and plain talk, and the cost is counted last.",
        "The telling stays close to people who act first and understand later, and it leaves the reader to judge them.",
    ]
    return _sentences_within([opening, *rest], aim, 130)


def archetype(context: Context, aim: int) -> str:
    """45-190 words: kind, voice, pressure."""
    known = study(context.novel)
    vector = score(context.volume, known.quotes)
    first, second = genres(context, 2)
    kind = first if first.endswith(("story", "tale", "romance")) else f"story of {first}"
    voice = "told by someone who was there" if known.first_person else "told from close behind its people"
    drive = (
        "deeds and danger"
        if vector.action > 40
        else "talk and what it hides"
        if vector.dialog > 45
        else "affection and its price"
        if vector.romantic > 35
        else "watching, waiting and finding out"
    )
    return _sentences_within([
        f"{_article(kind).capitalize()} with a strain of {second}, {voice}.",
        f"Its engine is {drive}; the pressure rises by small steps rather than by sudden turns.",
        "A settled order is disturbed, someone is drawn further in than was meant, "
            "and each attempt to set things right uncovers more.",
        "The book belongs with stories in which character decides the outcome and the setting keeps the score.",
        "It asks for patience with detail and repays it when the details come back changed.",
    ], aim, 150)  # fmt: skip


def preview(
    facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], words: tuple[int, int]
) -> Preview:
    """The book at a glance, from counts and the short arc bullets."""
    return Preview(
        highlight(facts, context, chapters, words[0]), context.title, tuple(tags(context)), archetype(context, words[1])
    )


def prompts(
    seen: Preview, facts: Sequence[str], context: Context, chapters: Sequence[tuple[str, str]], most_words: int
) -> tuple[str, ...]:
    """Four requests; attributes are drawn independently, seeded by the book itself (specification 2.7)."""
    seed = hashlib.sha256(f"{context.title}\0{context.author}\0{context.volume}".encode()).hexdigest()
    rng = random.Random(int(seed[:16], 16))
    classes = [c for c in LENGTHS if c[2] <= most_words] or [LENGTHS[0]]
    made = []
    for _ in range(PROMPTS_PER_BOOK):
        _, least, most, plot = rng.choices(classes, [c[0] for c in classes])[0]
        made.append(_prompt(rng, (least, most, plot), seen, facts, context, chapters))
    return tuple(made)


def _prompt(rng: random.Random, size, seen: Preview, facts, context: Context, chapters) -> str:
    least, most, plot = size
    opener, wish, close = _REGISTERS[rng.choice(sorted(_REGISTERS))]
    known = study(context.novel)
    genre = seen.tags[0] if seen.tags else "story"
    kind = f"a novel of {genre}" if not genre.endswith(("story", "tale", "romance")) else _article(genre)
    where, cast = places(context, 2), [figure.name for figure in figures(chapters, context)[:5]]
    if most <= 12:
        place = f" in {where[0]}" if where and rng.random() < 0.6 else ""
        short = opener.format(kind=kind + place)
        return short if count_words(short) <= 12 and rng.random() < 0.6 else f"{genre.capitalize()}{place}"
    near = lambda n: round(n * rng.uniform(0.9, 1.1))  # noqa: E731
    target = near(count_words(context.volume))
    length = max(50, round(target, -2 if target > 1000 else -1))
    wishes = [
        (0.9, f"{wish} be {seen.tags[1]}, with {seen.tags[3]}." if len(seen.tags) > 3 else ""),
        (0.8, f"At the centre stands {cast[0]}." if cast else "At the centre stands one person."),
        (0.7, f"Set it in {listing(where)}." if where else ""),
        (0.7, f"Aim for about {length} words in {max(2, near(len(chapters)))} chapters."),
        (0.5, f"Other people who must appear: {listing(cast[1:])}." if len(cast) > 1 else ""),
        (0.2, f"Call it {seen.title}." if seen.title else ""),
        (0.5, "The ending should follow from what people did, not from luck."),
        (0.4, "Keep the language of its period without overdoing it."),
    ]  # fmt: skip
    parts = [opener.format(kind=kind), *(text for chance, text in wishes if text and rng.random() < chance)]
    revealed = rng.randint(0, min(plot, len(facts)))
    if revealed:
        parts.append("This much of the plot is settled:" if revealed > 1 else "One thing is settled:")
        parts += [facts[index] for index in sorted(rng.sample(range(len(facts)), revealed))]
    nouns = central_words(context.volume, known, 4)
    extra = [
        f"The thread that holds it together is {listing(['the ' + n for n in nouns[:2]])}." if len(nouns) > 1 else "",
        "Show people through what they do and say, and let the narrator explain little.",
        "I want each chapter to turn on one clear event and to close on something left open.",
        f"Objects should matter, for example {listing(['the ' + n for n in nouns])}." if len(nouns) > 2 else "",
        "Vary long scenes with short ones and give minor figures a voice of their own.",
        "Readers are adults who enjoy older novels and notice when a detail returns.",
        "Avoid summaries of feeling; a gesture or an object does the work better.",
        "Dialogue may be indirect, and people should sometimes mean the opposite of what they say.",
        "Do not tidy everything away at the close; one loss ought to remain a loss.",
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
