"""Reads a collection of stories, each story whole: an anthology by several authors, or one author's short stories."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from polaris_jax.library.accept import COLLECTION
from polaris_jax.library.blocks import Block, drop_apparatus, split_blocks
from polaris_jax.library.gutenberg import find_frame
from polaris_jax.library.headings import is_apparatus, parse_heading
from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.library.prose import measure_layout, read_paragraphs
from polaris_jax.library.read import decoded_text
from polaris_jax.library.scenes import split_scenes
from polaris_jax.library.story_heads import MIN_STORY_CHARS, StoryHead, find_story_heads

_NOBODY = ("various", "anonymous", "unknown")


@dataclass(frozen=True)
class CollectedStory:
    """One story of a collection.

    Attributes:
      title, author: as printed; the collection's author if the story names none.
      line: 1-based line of its title in the decoded file.
      text: clean prose, paragraphs separated by one blank line.
      scenes: strings whose concatenation is exactly ``text``.
    """

    title: str
    author: str
    line: int
    text: str
    scenes: tuple[str, ...]

    def as_novel(self, collection: Novel) -> Novel:
        """The story as a book of one chapter, for code that plans books."""
        chapter = NovelChapter(self.title, "narrative", None, self.line, self.text, self.scenes)
        return replace(
            collection,
            title=self.title,
            author=self.author,
            accepted=True,
            reason="",
            structure="story",
            chapters=(chapter,),
            account=None,
        )


def is_collection(novel: Novel) -> bool:
    """Whether a book was rejected because it is a collection."""
    return not novel.accepted and novel.reason.startswith(COLLECTION)


def read_collection(novel: Novel) -> tuple[CollectedStory, ...]:
    """The stories of a file that ``read_novel`` found to be a collection, in order; empty if they cannot be separated.

    Raises:
      InputError: the file no longer exists.
    """
    text = decoded_text(novel.path)
    frame = find_frame(text)
    body = text[frame.start : frame.stop]
    blocks, _ = drop_apparatus(split_blocks(body, text.count("\n", 0, frame.start) + 1))
    heads = find_story_heads(blocks)
    if not heads:
        return ()
    layout = measure_layout(blocks)
    author = "" if novel.author.lower().rstrip(".") in _NOBODY else novel.author
    stories = []
    for head, end in zip(heads, [*(head.start for head in heads[1:]), _end(blocks, heads)], strict=True):
        stretch = _without_source_note(blocks[head.body : end])
        paragraphs = read_paragraphs(stretch, layout, frozenset(_numbers(stretch)))
        texts = [paragraph.text for paragraph in paragraphs]
        scenes = split_scenes(texts, [paragraph.opens for paragraph in paragraphs])
        story = "\n\n".join(texts)
        if len(story) >= MIN_STORY_CHARS:
            stories.append(CollectedStory(head.title, head.author or author, blocks[head.start].line, story, scenes))
    return tuple(stories)


def _numbers(blocks: list[Block]) -> Iterator[int]:
    """Lines of bare numbers between the sections of a story."""
    for block in blocks:
        if len(block.lines) == 1 and len(block.lines[0].strip()) < 20:
            heading = parse_heading(block.lines[0].strip())
            if heading and heading.number is not None and not heading.title:
                yield block.line


def _without_source_note(blocks: list[Block]) -> list[Block]:
    """A story without the bracket under its title that names its first printing or a permission."""
    if blocks and blocks[0].lines[0].lstrip().startswith(("[", "(")):
        depth = 0
        for count, block in enumerate(blocks[:4], 1):
            text = " ".join(block.lines)
            depth += text.count("[") + text.count("(") - text.count("]") - text.count(")")
            if depth <= 0:
                return blocks[count:] if text.rstrip().rstrip("_.").endswith(("]", ")")) else blocks
    return blocks


def _end(blocks: list[Block], heads: list[StoryHead]) -> int:
    """The block after the last story: notes, an index or advertisements with their own heading."""
    after = (
        index
        for index in range(heads[-1].body, len(blocks))
        if len(blocks[index].lines) <= 2 and blocks[index].gap >= 2 and is_apparatus(blocks[index].lines[0])
    )
    return next(after, len(blocks))
