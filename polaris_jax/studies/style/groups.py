"""``StoryGroup``: stories of one origin, and the values of every measure over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from polaris_jax.errors import InputError
from polaris_jax.studies.style.burrows_delta import WordSample, samples
from polaris_jax.studies.style.contrast import Sample
from polaris_jax.studies.style.measures import Measure
from polaris_jax.studies.style.stories import Passage, Story, passages, spread_by_author

PER_AUTHOR = 12


@dataclass(frozen=True)
class StoryGroup:
    """Stories of one origin, the same number of texts per author at most.

    Attributes:
      name: name in tables.
      stories, passages: the texts that are measured.
      every: all passages of these stories; they are joined to the long samples of Burrows' Delta.
      generated: many authors with one text each, so that long samples are joined across authors.
    """

    name: str
    stories: tuple[Story, ...]
    passages: tuple[Passage, ...]
    every: tuple[Passage, ...]
    generated: bool

    @classmethod
    def of(cls, name: str, stories: Sequence[Story], per_author: int = PER_AUTHOR) -> "StoryGroup":
        """The group of these stories: at most ``per_author`` stories and passages of each author, evenly spaced.

        Raises:
          InputError: the stories are too short for a single passage.
        """
        # Stories are chosen before they are split: splitting long novels into sentences would take minutes.
        some = spread_by_author(list(stories), per_author)
        every = passages(some)
        if not every:
            raise InputError(name, len(stories), "no story is long enough to be measured (200 words)")
        thin = spread_by_author(every, per_author)
        generated = len(every) < 2 * len({p.author for p in every})
        return cls(name, tuple(some), tuple(thin), tuple(every), generated)

    @cached_property
    def delta_texts(self) -> list[WordSample]:
        """Samples for Burrows' Delta, at most six of an author."""
        return spread_by_author(samples(self.every, pooled=self.generated), 6)

    def sample(self, measure: Measure) -> Sample:
        """Values of a measure over the group, clustered by author."""
        texts = self.passages if measure.level == "passage" else self.stories
        return Sample.of([measure.of(text) for text in texts], [text.author for text in texts])

    def facts(self) -> dict:
        """Size and composition of the group, as JSON values."""
        return {
            "name": self.name,
            "authors": len({p.author for p in self.passages}),
            "stories": len(self.stories),
            "passages": len(self.passages),
            "words": sum(len(p.words) for p in self.passages),
            "finished": sum(story.finished for story in self.stories),
        }
