"""DOC, detailed outline control (Yang et al., ACL 2023): an outline of two levels, followed closely in the drafting.

The detailed outliner breaks every event into smaller ones, each with its people and place. The controller, in the
original a classifier on the logits, is here a choice among drafts: by how fully they tell their own event without
telling the next one.
"""

from polaris_jax.studies.baselines.story_client import StoryClient, bullet, tail

DRAFTS = 2
LEAF_WORDS = 120


def doc(client: StoryClient, prompt: str, words: int) -> str:
    """A story that follows a detailed outline leaf by leaf."""
    leaves_wanted = max(2, round(words / LEAF_WORDS))
    tops = max(2, round(leaves_wanted**0.5))
    characters = client.points(f"{prompt}\n\nName three characters of this story, one sentence each.", 3)
    outline = client.points(
        f"{prompt}\nCharacters:\n{bullet(characters)}\n\nOutline the story in {tops} main events, one sentence each.",
        tops,
    )
    leaves = [
        leaf
        for index, event in enumerate(outline)
        for leaf in _detail(client, prompt, outline, event, _share(leaves_wanted, tops, index))
    ]
    story = ""
    for index, leaf in enumerate(leaves):
        coming = leaves[index + 1] if index + 1 < len(leaves) else "the story is over"
        ask = (
            f"Task: {prompt}\nCharacters:\n{bullet(characters)}\n"
            + (f"The story's last lines:\n{tail(story, 100)}\n" if story else "")
            + f"\nWrite the next {words // len(leaves)} words. They tell only this: {leaf}\n"
            f"They stop before this: {coming}"
        )
        drafts = client.drafts(ask, words // len(leaves), DRAFTS)
        story += "\n\n" + client.best(
            f"How fully does the passage tell this: {leaf}\nwithout yet telling this: {coming}", drafts
        )
    return story.strip()


def _detail(client: StoryClient, prompt: str, outline: list[str], event: str, count: int) -> list[str]:
    if count == 1:
        return [event]
    return client.points(
        f"{prompt}\nOutline:\n{bullet(outline)}\n\nBreak this event into {count} smaller events in "
        f"order, one sentence each, saying who is there and where: {event}",
        count,
    )


def _share(total: int, parts: int, index: int) -> int:
    """Number of leaves, of ``total``, for a part: as even as possible, at least one."""
    return max(1, total // parts + (index < total % parts))
