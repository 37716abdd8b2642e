"""Direct prompting: ask for the story; while it is too short, ask to go on."""

from polaris_jax.evals.baselines.desk import Desk, count, tail

ROUNDS = 12  # a model that answers in a sentence is not asked for ever
_SHORT = 0.9


def direct(desk: Desk, prompt: str, words: int) -> str:
    """The story of one prompt, without a plan."""
    story = desk.prose(f"{prompt}\n\nWrite the story in about {words} words.", words)
    for round_ in range(ROUNDS):
        missing = words - count(story)
        if missing < (1 - _SHORT) * words:
            break
        ask = (f"The task was: {prompt}\n\nThe story so far ends like this:\n{tail(story)}\n\n"
               f"Go on with the next {missing} words of the story. Do not repeat what is there.")  # fmt: skip
        story += "\n\n" + desk.prose(ask, missing, sample=round_)
    return story
