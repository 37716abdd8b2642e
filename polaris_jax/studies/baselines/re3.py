"""Re3, recursive reprompting and revision (Yang et al., EMNLP 2022): plan, draft, rewrite, edit.

Plan: setting, characters, outline. Draft: the prompt of every passage consists of the plan, a summary of the story so
far and its last lines. Rewrite: the best of several drafts by relevance to the outline and coherence with the story so
far (the original trains rerankers; here the model rates). Edit: a passage that contradicts the characters is corrected.
"""

from polaris_jax.rewards import count_words
from polaris_jax.studies.baselines.story_client import StoryClient, bullet, tail

DRAFTS = 3
SECTION_WORDS = 200
_CONTRADICTS = 7  # lowest rating that counts as a contradiction


def re3(client: StoryClient, prompt: str, words: int) -> str:
    """A story by planning, drafting several times, choosing, and correcting."""
    setting = client.prose(f"{prompt}\n\nDescribe the setting of this story in two sentences.", 60)
    characters = client.points(
        f"{prompt}\nSetting: {setting}\n\nName the three main characters, one sentence each: the name and who that is.",
        3,
    )
    sections = max(2, round(words / SECTION_WORDS))
    outline = client.points(
        f"{prompt}\nSetting: {setting}\nCharacters:\n{bullet(characters)}\n\nOutline the story in "
        f"{sections} events, one sentence each.",
        sections,
    )
    story, summary = "", ""
    for index, event in enumerate(outline):
        ask = _reprompt(prompt, setting, characters, summary, story, event, words // sections)
        drafts = client.drafts(ask, words // sections, DRAFTS)
        chosen = client.best(
            f"Does the passage tell this event: {event}\nand does it follow from this:\n{tail(story, 60)}", drafts
        )
        story = (story + "\n\n" + _edited(client, chosen, characters, index)).strip()
        if index + 1 < len(outline):
            summary = client.prose(f"Summarise in three sentences:\n{summary}\n{tail(story, words // sections)}", 70)
    return story


def _reprompt(
    prompt: str, setting: str, characters: list[str], summary: str, story: str, event: str, words: int
) -> str:
    return (
        f"Task: {prompt}\nSetting: {setting}\nCharacters:\n{bullet(characters)}\n"
        + (f"So far: {summary}\n" if summary else "")
        + f"Now happens: {event}\n\n"
        + (f"The story's last lines:\n{tail(story, 100)}\n\n" if story else "")
        + f"Write the next passage of the story, about {words} words."
    )


def _edited(client: StoryClient, passage: str, characters: list[str], index: int) -> str:
    facts = bullet(characters)
    [contradicts] = client.rate(
        f"Known about the characters:\n{facts}\nHow clearly does the passage contradict this?", [passage]
    )
    if contradicts < _CONTRADICTS:
        return passage
    ask = (
        f"Known about the characters:\n{facts}\n\nThe passage below contradicts this somewhere. Write the passage "
        f"again without the contradiction and change nothing else:\n{passage}"
    )
    better = client.prose(ask, count_words(passage), sample=index)
    # An edit that drops half of the passage is rejected.
    return better if count_words(better) > count_words(passage) // 2 else passage
