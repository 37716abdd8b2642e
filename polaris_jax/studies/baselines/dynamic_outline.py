"""A dynamic outline with memory (after DOME, Wang et al., 2024): a rough plan, late detail, a memory of facts.

The rough outline follows the stages of a plot. Each stage is worked out just before it is written, with the facts that
the text has established. Facts are noted after every passage and retrieved by the words they share with the next event.
"""

from polaris_jax.studies.baselines.story_client import StoryClient, bullet, tail

STAGES = ("exposition", "rising action", "climax", "falling action", "ending")
SECTION_WORDS = 150
_FACTS, _RECALLED = 3, 6


def dynamic_outline(client: StoryClient, prompt: str, words: int) -> str:
    """A story whose outline grows with it."""
    rough = client.points(
        f"{prompt}\n\nPlan the story in five stages ({', '.join(STAGES)}): one sentence for each, in this order.",
        len(STAGES),
    )
    per_stage = max(1, round(words / SECTION_WORDS / len(STAGES)))
    size = max(20, words // (per_stage * len(STAGES)))
    story = ""
    memory: list[str] = []
    for stage, plan in zip(STAGES, rough, strict=True):
        for event in _work_out(client, prompt, stage, plan, memory, per_stage):
            known = recall(memory, event)
            ask = (
                f"Task: {prompt}\nStage: {stage}\n"
                + (f"Established:\n{bullet(known)}\n" if known else "")
                + (f"The story's last lines:\n{tail(story, 100)}\n" if story else "")
                + f"\nWrite the next {size} words of the story: {event}\nStay true to what is established."
            )
            passage = client.prose(ask, size, sample=len(memory))
            story = f"{story}\n\n{passage}".strip()
            memory += client.points(
                f"Note {_FACTS} facts that this passage establishes (who, what, where, when), one "
                f"short sentence each:\n{passage}",
                _FACTS,
                120,
            )
    return story


def recall(memory: list[str], event: str, most: int = _RECALLED) -> list[str]:
    """The facts that share most words of five letters or more with an event, in the order of the story.

    Of facts that share equally many, later ones are preferred.
    """
    wanted = _content(event)
    ranked = sorted(range(len(memory)), key=lambda i: (-len(wanted & _content(memory[i])), -i))
    return [memory[index] for index in sorted(ranked[:most])]


def _work_out(client: StoryClient, prompt: str, stage: str, plan: str, memory: list[str], count: int) -> list[str]:
    known = bullet(recall(memory, plan))
    return client.points(
        f"{prompt}\nThe {stage} is planned so: {plan}\n"
        + (f"What the story has established:\n{known}\n" if known else "")
        + f"\nWork the {stage} out in {count} events that fit what is established, one sentence each.",
        count,
    )


def _content(text: str) -> set[str]:
    return {word.strip(".,;:!?\"'").lower() for word in text.split() if len(word) >= 5}
