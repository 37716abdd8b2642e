"""Novels become prompt-story pairs: runs of chapters as stories, requests and reasoning from their plan.

Training stories have 1,000-4,000 words, held-out ones 1,000-12,000, and an author is either trained on or held out.
The request is written from the plan's cards, never from the prose; the reasoning is the plan itself, scene by scene.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from polaris_jax import scaffold, storage
from polaris_jax.corpus.identity import split_of
from polaris_jax.corpus.options import SPLITS
from polaris_jax.data.prompt_story import PromptStory, write_prompt_stories
from polaris_jax.errors import InputError
from polaris_jax.library import Novel, read_novel
from polaris_jax.rewards.length import count_words
from polaris_jax.trajectory import Book, Chapter, Scene

FORMATS = ("jsonl", "parquet")
_AIMS = 4  # stories aim in turn at so many lengths between the fewest and the most words
_EVENTS, _PEOPLE = 5, 4  # most that a request names
_OPENINGS = (
    "Write {kind} about {people}.",
    "I would like to read {kind} in which {people} take the stage.",
    "Please write {kind}. At its centre: {people}.",
    "Tell me {kind} with {people} in it.",
)
_ROUND = 100  # words


@dataclass(frozen=True)
class PairOptions:
    """Which stretches of a novel become stories.

    Attributes:
      train_words, heldout_words: fewest and most words of a story.
      shares: relative sizes of train, validation and test, as shares of authors.
      seed: of the split.
      per_book: most stories per novel, evenly spread over it; 0 is all.
      format: ``jsonl`` or ``parquet``.
    """

    train_words: tuple[int, int] = (1000, 4000)
    heldout_words: tuple[int, int] = (1000, 12000)
    shares: tuple[float, float, float] = (90.0, 5.0, 5.0)
    seed: int = 0
    per_book: int = 0
    format: str = "jsonl"

    def __post_init__(self):
        for name in ("train_words", "heldout_words"):
            low, high = getattr(self, name)
            if not 1 <= low < high:
                raise InputError(name, getattr(self, name), "fewest and most words, the first smaller: 1000-4000")
        if len(self.shares) != len(SPLITS) or min(self.shares) < 0 or not sum(self.shares):
            raise InputError("split", self.shares, "three sizes such as 90/5/5")
        if self.format not in FORMATS:
            raise InputError("format", self.format, f"one of {', '.join(FORMATS)}")
        if self.per_book < 0:
            raise InputError("per_book", self.per_book, "0 (all) or more")


@dataclass(frozen=True)
class _Part:
    """A chapter, or a scene of a chapter that is too long to be a story by itself."""

    card: Chapter | Scene
    text: str
    words: int
    chapter: int


def build_pairs(
    novels: Sequence[str], out: str, options: PairOptions = PairOptions(),
    annotator: scaffold.Annotator | None = None, progress: Callable[[str, int, int], None] | None = None,
) -> dict:  # fmt: skip
    """Writes ``train``, ``validation`` and ``test`` files and ``report.json`` to a folder; returns the report.

    Args:
      novels: addresses of texts.
      annotator: who plans; None is the offline annotator.
      progress: is told a novel's name, how many are done, of how many.

    Raises:
      InputError: no novel gave a pair, or the folder cannot be written.
    """
    annotator = annotator or scaffold.DeterministicAnnotator()
    pairs: dict[str, list[PromptStory]] = {split: [] for split in SPLITS}
    books = []
    for number, address in enumerate(novels):
        if progress is not None:
            progress(storage.name_of(address), number, len(novels))
        novel = read_novel(address)
        reason, found = novel.reason, []
        split = split_of(novel.author, novel.title, options.shares, options.seed)
        if novel.accepted:
            try:
                book = scaffold.build_books(novel, annotator, scaffold.FULL)[0]
                found = derive_pairs(book, novel, split, options)
                reason = "" if found else "No run of chapters has the right length."
            except InputError as error:
                reason = str(error)
        pairs[split] += found
        books.append({"file": storage.name_of(address), "title": novel.title, "author": novel.author, "split": split,
                      "pairs": len(found), "reason": reason})  # fmt: skip
    if not any(pairs.values()):
        raise InputError("--books", [row["reason"] for row in books][:3], "no novel gave a prompt-story pair")
    for split, rows in pairs.items():
        if rows:
            write_prompt_stories(storage.join(out, f"{split}.{options.format}"), _unique(rows))
    report = {"annotator": annotator.name, "splits": {split: _counts(rows) for split, rows in pairs.items()},
              "books": books}  # fmt: skip
    storage.write_json(storage.join(out, "report.json"), report)
    return report


def derive_pairs(book: Book, novel: Novel, split: str, options: PairOptions = PairOptions()) -> list[PromptStory]:
    """The pairs of one planned novel, in its order; stories do not overlap."""
    bounds = options.train_words if split == "train" else options.heldout_words
    runs = list(_runs(book, bounds))
    if 0 < options.per_book < len(runs):
        runs = [runs[i * len(runs) // options.per_book] for i in range(options.per_book)]
    return [_pair(book, novel, run) for run in runs]


def _runs(book: Book, bounds: tuple[int, int]) -> Iterator[list[_Part]]:
    """Runs of whole chapters (of scenes, in chapters that are too long), each between the bounds."""
    low, high = bounds
    aims = [low + (high - low) * step // _AIMS for step in range(_AIMS)]
    run: list[_Part] = []
    made = 0
    for part in _parts(book, high):
        words = sum(done.words for done in run)
        crosses = run and part.chapter != run[-1].chapter and isinstance(part.card, Scene) != isinstance(
            run[-1].card, Scene)  # fmt: skip
        if run and (words + part.words > high or crosses):
            if words >= low:
                yield run
                made += 1
            run = []
        run.append(part)
        if sum(done.words for done in run) >= aims[made % _AIMS]:
            yield run
            made, run = made + 1, []
    if run and low <= sum(done.words for done in run) <= high:
        yield run


def _parts(book: Book, high: int) -> Iterator[_Part]:
    for number, chapter in enumerate(book.chapters, 1):
        words = count_words(chapter.text)
        pieces = [(chapter, chapter.text)] if words <= high else [(scene, scene.text) for scene in chapter.scenes]
        for card, text in pieces:
            if count_words(text) <= high:
                yield _Part(card, text.strip(), count_words(text), number)


def _pair(book: Book, novel: Novel, run: list[_Part]) -> PromptStory:
    story = "\n\n".join(part.text for part in run)
    target = max(_ROUND, round(count_words(story) / _ROUND) * _ROUND)
    digest = hashlib.sha256(f"{novel.author}\0{novel.title}\0{story}".encode()).hexdigest()
    people = _people(book, story)
    kind = f"a story of {book.tags[0]}" if book.tags else "a story"
    opening = _OPENINGS[int(digest[:8], 16) % len(_OPENINGS)]
    sentences = [opening.format(kind=kind, people=_listed(people) or "people whose choices matter")]
    things = [focus for part in run for focus in part.card.focuses if focus[:1].islower()]
    if things:
        sentences.append(f"These should matter in it: {_listed(list(dict.fromkeys(things))[:3])}.")
    sentences.append("What happens, in order: " + " ".join(_sentence(line) for line in _events(run)))
    sentences.append(f"Your story should be approximately {target} words long.")
    slug = re.sub(r"[^a-z0-9]+", "-", Path(novel.path).stem.lower()).strip("-")
    return PromptStory(
        uid=f"{slug}-{run[0].chapter}-{digest[:8]}", prompt=" ".join(sentences), target_words=target, story=story,
        reasoning=_reasoning(book, run, people, target), source=f"{novel.author}: {novel.title}",
    )  # fmt: skip


def _reasoning(book: Book, run: list[_Part], people: list[str], target: int) -> str:
    """The plan of the run as notes to oneself."""
    lines = [f"The request is for about {target} words."]
    if people:
        lines.append(f"People: {_listed(people)}.")
    lines += [f"Manner: {line}" for line in book.writing_style[:2]]
    scenes = [scene for part in run for scene in (part.card.scenes if isinstance(part.card, Chapter) else (part.card,))]
    for number, scene in enumerate(scenes, 1):
        lines.append(f"\nScene {number}: {scene.name}, about {scene.word_count} words. {scene.perspective}.")
        lines += [f"- {bullet}" for bullet in scene.summary]
    return "\n".join(lines)


def _people(book: Book, story: str) -> list[str]:
    """Names of the book's people who are named in the story, main characters first."""
    names = [person.name for person in (*book.main_characters, *book.side_characters)]
    named = [name for name in names if any(len(word) > 3 and word in story for word in name.split()[-1:])]
    return named[:_PEOPLE]


def _events(run: list[_Part]) -> list[str]:
    """Bullets of the cards, evenly spread over the run."""
    bullets = list(dict.fromkeys(line for part in run for line in part.card.summary))
    if len(bullets) <= _EVENTS:
        return bullets
    return [bullets[i * len(bullets) // _EVENTS] for i in range(_EVENTS)]


def _sentence(line: str) -> str:
    return line.rstrip(" .") + "." if line.rstrip(" .")[-1:] not in "!?" else line.rstrip(" .")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + f" and {names[-1]}" if names else ""


def _unique(rows: list[PromptStory]) -> list[PromptStory]:
    """Without repeats: the same novel under two names gives the same stories."""
    return list({row.uid.rsplit("-", 1)[-1]: row for row in rows}.values())


def _counts(rows: list[PromptStory]) -> dict:
    targets = sorted(row.target_words for row in rows)
    return {"pairs": len(rows), "words": [targets[0], targets[len(targets) // 2], targets[-1]] if targets else []}
