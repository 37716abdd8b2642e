"""Plan-and-Write, static schema (Yao et al., 2019): a storyline of one point per section first, then the sections.

The original plans keywords with a trained model; here a language model is asked for both steps.
"""

from polaris_jax.studies.baselines.story_client import StoryClient, bullet, tail

SECTION_WORDS = 150


def plan_and_write(client: StoryClient, prompt: str, words: int) -> str:
    """A story along a storyline that is planned before the first sentence."""
    sections = max(2, round(words / SECTION_WORDS))
    storyline = client.points(
        f"{prompt}\n\nPlan the story: {sections} events in order, one short sentence each, from "
        "the first scene to the ending.",
        sections,
    )
    parts: list[str] = []
    for index, event in enumerate(storyline):
        ask = (
            f"The task: {prompt}\n\nThe plan:\n{bullet(storyline)}\n\n"
            + (f"The story so far ends like this:\n{tail(parts[-1])}\n\n" if parts else "")
            + f"Write the next part of the story, about {words // sections} words. It tells only this: {event}"
        )
        parts.append(client.prose(ask, words // sections, sample=index))
    return "\n\n".join(parts)
