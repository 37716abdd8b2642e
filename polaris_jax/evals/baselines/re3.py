"""Re3, recursive reprompting and revision (Yang et al., EMNLP 2022): plan, draft, rewrite, edit.

Plan: setting, characters, outline. Draft: every passage is asked for with a fresh prompt made of plan, summary of
what was told and the last lines. Rewrite: the best of several drafts by relevance to the outline and coherence
with what stands there (the original trains rerankers; here the model rates). Edit: a passage that contradicts what
the characters are is corrected.
"""

from polaris_jax.evals.baselines.desk import Desk, bullet, count, tail

DRAFTS = 3
SECTION_WORDS = 200
_CONTRADICTS = 7  # a rating from here on is taken as a contradiction


def re3(desk: Desk, prompt: str, words: int) -> str:
    """A story by planning, drafting several times, choosing, and correcting."""
    setting = desk.prose(f"{prompt}\n\nDescribe the setting of this story in two sentences.", 60)
    characters = desk.points(f"{prompt}\nSetting: {setting}\n\nName the three main characters, one sentence each: the "
                             "name and who that is.", 3)  # fmt: skip
    sections = max(2, round(words / SECTION_WORDS))
    outline = desk.points(f"{prompt}\nSetting: {setting}\nCharacters:\n{bullet(characters)}\n\nOutline the story in "
                          f"{sections} events, one sentence each.", sections)  # fmt: skip
    story, summary = "", ""
    for index, event in enumerate(outline):
        ask = _reprompt(prompt, setting, characters, summary, story, event, words // sections)
        drafts = desk.drafts(ask, words // sections, DRAFTS)
        chosen = desk.best(f"Does the passage tell this event: {event}\nand does it follow from this:\n"
                           f"{tail(story, 60)}", drafts)  # fmt: skip
        story = (story + "\n\n" + _edited(desk, chosen, characters, index)).strip()
        if index + 1 < len(outline):
            summary = desk.prose(f"Summarise in three sentences:\n{summary}\n{tail(story, words // sections)}", 70)
    return story


def _reprompt(prompt, setting, characters, summary, story, event, words) -> str:
    return (f"Task: {prompt}\nSetting: {setting}\nCharacters:\n{bullet(characters)}\n"
            + (f"So far: {summary}\n" if summary else "") + f"Now happens: {event}\n\n"
            + (f"The story's last lines:\n{tail(story, 100)}\n\n" if story else "")
            + f"Write the next passage of the story, about {words} words.")  # fmt: skip


def _edited(desk: Desk, passage: str, characters: list[str], index: int) -> str:
    facts = bullet(characters)
    [contradicts] = desk.rate(f"Known about the characters:\n{facts}\nHow clearly does the passage contradict this?",
                              [passage])  # fmt: skip
    if contradicts < _CONTRADICTS:
        return passage
    ask = (f"Known about the characters:\n{facts}\n\nThe passage below contradicts this somewhere. Write the passage "
           f"again without the contradiction and change nothing else:\n{passage}")  # fmt: skip
    better = desk.prose(ask, count(passage), sample=index)
    # An edit that throws half of the passage away is no correction.
    return better if count(better) > count(passage) // 2 else passage
