"""Equal length: judges prefer long stories, so every story is continued until it is long enough, then cut."""

from polaris_jax.rewards import count_words
from polaris_jax.studies.baselines.story_client import StoryClient, cut, tail

ROUNDS = 12  # limit for a model that answers in single sentences
ENOUGH = 0.9


def full_length(client: StoryClient, prompt: str, story: str, words: int) -> str:
    """``story`` with continuations: ``ENOUGH`` of ``words`` to ``words`` words, ending with a sentence where possible.

    Raises:
      CallFailed: no usable continuation.
    """
    for round_ in range(ROUNDS):
        missing = words - count_words(story)
        if missing <= (1 - ENOUGH) * words:
            break
        ask = (
            f"The task was: {prompt}\n\nThe story so far ends like this:\n{tail(story)}\n\n"
            f"Go on with the next {missing} words of the story. Do not repeat what is there."
        )
        # The cut at a sentence end may lose words, so a few more than the missing ones are requested.
        story = f"{story}\n\n{client.prose(ask, round(missing * 1.2) + 5, sample=round_)}"
    return cut(story, words, least=ENOUGH)
