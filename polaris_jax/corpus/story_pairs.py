"""Makes prompt-story pairs from the stories of a collection: each story whole, its request written from its plan.

The annotator (a model, or the offline one) writes the request, which ends with the length. The author of each story
decides its split, so the stories of an anthology may get into several splits.
"""

from dataclasses import dataclass

from polaris_jax import scaffold
from polaris_jax.corpus import pair_notes
from polaris_jax.corpus.identity import split_of
from polaris_jax.data.prompt_story import PromptStory
from polaris_jax.errors import InputError
from polaris_jax.library import CollectedStory, Novel, read_collection
from polaris_jax.rewards import without_length_request
from polaris_jax.rewards.word_count import count_words


@dataclass(frozen=True)
class StoryPairs:
    """The result for a collection.

    Attributes:
      pairs: (split, pair) in the order of the collection.
      stories: number of stories read. short, long: outside the bounds of their split. unplanned: with too little prose
        for a plan.
    """

    pairs: tuple[tuple[str, PromptStory], ...]
    stories: int
    short: int
    long: int
    unplanned: int

    @property
    def reason(self) -> str:
        """Why there is no pair; '' if there is one."""
        if self.pairs:
            return ""
        if not self.stories:
            return "It is a collection, but its stories cannot be told apart."
        return f"It is a collection of {self.stories} stories, none of the right length."


def derive_story_pairs(
    collection: Novel,
    annotator: scaffold.Annotator,
    bounds: dict[str, tuple[int, int]],
    shares: tuple[float, float, float],
    seed: int = 0,
    most: int = 0,
) -> StoryPairs:
    """The pairs of a collection.

    Args:
      bounds: split → fewest and most words of a story.
      shares, seed: for the split by author.
      most: how many stories to keep, evenly spread over the collection; 0 is all.
    """
    stories = read_collection(collection)
    fitting: list[tuple[str, CollectedStory]] = []
    short = long = unplanned = 0
    for story in stories:
        split = split_of(story.author, story.title, shares, seed)
        words, (fewest, largest) = count_words(story.text), bounds[split]
        short, long = short + (words < fewest), long + (words > largest)
        if fewest <= words <= largest:
            fitting.append((split, story))
    if 0 < most < len(fitting):
        fitting = [fitting[i * len(fitting) // most] for i in range(most)]
    pairs = []
    for split, story in fitting:
        try:
            pairs.append((split, _pair(collection, story, annotator)))
        except InputError as error:
            if error.field != "novel":
                raise
            unplanned += 1
    return StoryPairs(tuple(pairs), len(stories), short, long, unplanned)


def _pair(collection: Novel, story: CollectedStory, annotator: scaffold.Annotator) -> PromptStory:
    book = scaffold.build_books(story.as_novel(collection), annotator, scaffold.STORY)[0]
    target = pair_notes.target_words(story.text)
    scenes = [scene for chapter in book.chapters for scene in chapter.scenes]
    request = pair_notes.sentence(without_length_request(book.prompt))
    named = pair_notes.people(book, story.text)
    digest = pair_notes.digest(story.author, story.title, story.text)
    return PromptStory(
        uid=f"{pair_notes.slug(collection.path)}-{story.line}-{digest[:8]}",
        prompt=f"{request} {pair_notes.length_request(target)}",
        target_words=target,
        story=story.text,
        reasoning=pair_notes.reasoning(book, scenes, named, target),
        source=f"{story.author or 'Unknown author'}: {story.title}",
    )
