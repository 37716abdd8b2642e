"""Makes prompt-story pairs from novels and collections: runs of chapters, or whole stories, with request and reasoning.

Training stories have 1,000-4,000 words, held-out ones 1,000-12,000. An author is either trained on or held out. The
request is written from the plan's cards, never from the prose; the reasoning is the plan itself, scene by scene.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from polaris_jax import scaffold, storage
from polaris_jax.corpus import pair_notes
from polaris_jax.corpus.duplicates import SAME_WORK, Works, signature
from polaris_jax.corpus.identity import author_key, split_of, title_key
from polaris_jax.corpus.options import SPLITS, split_shares
from polaris_jax.corpus.readings import ReadingRules
from polaris_jax.corpus.story_pairs import derive_story_pairs
from polaris_jax.data.prompt_story import PromptStory, write_prompt_stories
from polaris_jax.errors import InputError
from polaris_jax.library import Novel, account_record, is_collection, read_novel
from polaris_jax.library.catalogue import Catalogue
from polaris_jax.rewards.word_count import count_words
from polaris_jax.trajectory import Book, Chapter, Scene

FORMATS = ("jsonl", "parquet")
_AIMS = 4  # stories in turn aim at this many lengths between the fewest and the most words
_EVENTS = 5  # most events that a request names
_OPENINGS = (
    "Write {kind} about {people}.",
    "I would like to read {kind} in which {people} take the stage.",
    "Please write {kind}. At its centre: {people}.",
    "Tell me {kind} with {people} in it.",
)


@dataclass(frozen=True)
class PairOptions:
    """Which parts of a novel become stories.

    Attributes:
      train_words, heldout_words: fewest and most words of a story.
      shares: relative sizes of train, validation and test, as shares of authors.
      seed: for the split.
      per_book: most stories per novel, evenly spread over it; 0 is all.
      format: ``jsonl`` or ``parquet``.
      rules: the user's rules for reading single books.
    """

    train_words: tuple[int, int] = (1000, 4000)
    heldout_words: tuple[int, int] = (1000, 12000)
    shares: tuple[float, float, float] = (90.0, 5.0, 5.0)
    seed: int = 0
    per_book: int = 0
    format: str = "jsonl"
    rules: ReadingRules = field(default_factory=ReadingRules)

    @property
    def bounds(self) -> dict[str, tuple[int, int]]:
        """Fewest and most words of a story, by split."""
        return {split: self.train_words if split == "train" else self.heldout_words for split in SPLITS}

    def __post_init__(self) -> None:
        for name in ("train_words", "heldout_words"):
            low, high = getattr(self, name)
            if not 1 <= low < high:
                raise InputError(name, getattr(self, name), "fewest and most words, the first smaller: 1000-4000")
        split_shares(self.shares)
        if self.format not in FORMATS:
            raise InputError("format", self.format, f"one of {', '.join(FORMATS)}")
        if self.per_book < 0:
            raise InputError("per_book", self.per_book, "0 (all) or more")


@dataclass(frozen=True)
class _Part:
    """A chapter, or a scene of a chapter that is too long for one story."""

    card: Chapter | Scene
    text: str
    words: int
    chapter: int


def build_pairs(
    novels: Sequence[str],
    out: str,
    options: PairOptions = PairOptions(),
    annotator: scaffold.Annotator | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    catalogue: Catalogue | None = None,
) -> dict:
    """Writes ``train``, ``validation`` and ``test`` files and ``report.json`` to a folder; returns the report.

    Args:
      novels: addresses of texts.
      annotator: who writes the plans; None is the offline annotator.
      progress: called with a novel's name, the number done and the total.
      catalogue: credits that take precedence over those in the books.

    Raises:
      InputError: no novel gave a pair, or the folder cannot be written.
    """
    options.rules.check(novels)
    annotator = annotator or scaffold.OfflineAnnotator()
    pairs: dict[str, list[PromptStory]] = {split: [] for split in SPLITS}
    books: list[dict] = []
    editions = _Editions()
    for number, address in enumerate(novels):
        if progress is not None:
            progress(storage.name_of(address), number, len(novels))
        found, row = _of_book(address, annotator, options, editions, catalogue)
        for split, pair in found:
            pairs[split].append(pair)
        books.append(row)
    if not any(pairs.values()):
        raise InputError("--books", [row["reason"] for row in books][:3], "no novel gave a prompt-story pair")
    for split, rows in pairs.items():
        if rows:
            write_prompt_stories(storage.join(out, f"{split}.{options.format}"), _unique(rows))
    report = {
        "annotator": annotator.name,
        "splits": {split: _counts(rows) for split, rows in pairs.items()},
        "books": books,
    }
    storage.write_json(storage.join(out, "report.json"), report)
    return report


class _Editions:
    """The works that gave pairs so far, so that two editions of one work do not get into different splits."""

    def __init__(self) -> None:
        self._works = Works(SAME_WORK)
        self._files: list[str] = []

    def refusal(self, novel: Novel, file: str) -> str:
        """Why this novel is left out, or ``""`` for the first edition of its work."""
        sketch = signature(chapter.text for chapter in novel.chapters)
        known = self._works.add(author_key(novel.author), title_key(novel.title), sketch)
        self._files.append(file)
        return "" if known is None else f"It is the same work as {self._files[known.of]}: {known.why}."


def _of_book(
    address: str,
    annotator: scaffold.Annotator,
    options: PairOptions,
    editions: _Editions,
    catalogue: Catalogue | None,
) -> tuple[list[tuple[str, PromptStory]], dict]:
    """The (split, pair) of each story of a novel or collection, and its row of the report."""
    reading = options.rules.reading(address)
    novel = read_novel(address, heading=reading.heading, verdict=reading.verdict, catalogue=catalogue)
    split = split_of(novel.author, novel.title, options.shares, options.seed)
    row: dict[str, object] = {"file": storage.name_of(address), "title": novel.title, "author": novel.author}
    row["kind"] = "novel"
    found: list[tuple[str, PromptStory]] = []
    reason = novel.reason
    if novel.accepted:
        reason = editions.refusal(novel, storage.name_of(address))
    if novel.accepted and not reason:
        try:
            book = scaffold.build_books(novel, annotator, scaffold.FULL)[0]
            found = [(split, pair) for pair in derive_pairs(book, novel, split, options)]
            reason = "" if found else "No run of chapters has the right length."
        except InputError as error:
            reason = str(error)
    elif is_collection(novel):
        told = derive_story_pairs(novel, annotator, options.bounds, options.shares, options.seed, options.per_book)
        found, reason = list(told.pairs), told.reason
        split = " ".join(name for name in SPLITS if name in {split for split, _ in found})
        outside = {"too_short": told.short, "too_long": told.long, "unplanned": told.unplanned}
        row |= {"kind": "collection", "stories": told.stories} | outside
    account = account_record(novel.account)
    warnings = account["warnings"] if account and novel.accepted else []
    return found, row | {"split": split, "pairs": len(found), "reason": reason, "warnings": warnings}


def derive_pairs(book: Book, novel: Novel, split: str, options: PairOptions = PairOptions()) -> list[PromptStory]:
    """The pairs of one planned novel, in its order; stories do not overlap."""
    runs = list(_runs(book, options.bounds[split]))
    if 0 < options.per_book < len(runs):
        runs = [runs[i * len(runs) // options.per_book] for i in range(options.per_book)]
    return [_pair(book, novel, run) for run in runs]


def _runs(book: Book, bounds: tuple[int, int]) -> Iterator[list[_Part]]:
    """Runs of whole chapters (of scenes if a chapter is too long), each within the bounds."""
    low, high = bounds
    aims = [low + (high - low) * step // _AIMS for step in range(_AIMS)]
    run: list[_Part] = []
    made = 0
    for part in _parts(book, high):
        words = sum(done.words for done in run)
        crosses = (
            run and part.chapter != run[-1].chapter and isinstance(part.card, Scene) != isinstance(run[-1].card, Scene)
        )
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
    target = pair_notes.target_words(story)
    digest = pair_notes.digest(novel.author, novel.title, story)
    people = pair_notes.people(book, story)
    kind = f"a story of {book.tags[0]}" if book.tags else "a story"
    opening = _OPENINGS[int(digest[:8], 16) % len(_OPENINGS)]
    sentences = [opening.format(kind=kind, people=pair_notes.listed(people) or "people whose choices matter")]
    things = [focus for part in run for focus in part.card.focuses if focus[:1].islower()]
    if things:
        sentences.append(f"These should matter in it: {pair_notes.listed(list(dict.fromkeys(things))[:3])}.")
    sentences.append("What happens, in order: " + " ".join(pair_notes.sentence(line) for line in _events(run)))
    sentences.append(pair_notes.length_request(target))
    scenes = [scene for part in run for scene in (part.card.scenes if isinstance(part.card, Chapter) else (part.card,))]
    return PromptStory(
        uid=f"{pair_notes.slug(novel.path)}-{run[0].chapter}-{digest[:8]}",
        prompt=" ".join(sentences),
        target_words=target,
        story=story,
        reasoning=pair_notes.reasoning(book, scenes, people, target),
        source=f"{novel.author}: {novel.title}",
    )


def _events(run: list[_Part]) -> list[str]:
    """Bullets of the cards, evenly spread over the run."""
    bullets = list(dict.fromkeys(line for part in run for line in part.card.summary))
    if len(bullets) <= _EVENTS:
        return bullets
    return [bullets[i * len(bullets) // _EVENTS] for i in range(_EVENTS)]


def _unique(rows: list[PromptStory]) -> list[PromptStory]:
    """The rows without repeats: the same novel under two names gives the same stories."""
    return list({row.uid.rsplit("-", 1)[-1]: row for row in rows}.values())


def _counts(rows: list[PromptStory]) -> dict:
    targets = sorted(row.target_words for row in rows if row.target_words is not None)
    return {"pairs": len(rows), "words": [targets[0], targets[len(targets) // 2], targets[-1]] if targets else []}
