"""Equal length: judges prefer long stories, so every method's story is continued until it is long enough, then cut."""

from polaris_jax.evals.baselines.desk import Desk, count, cut, tail

ROUNDS = 12  # a model that answers in a sentence is not asked for ever
ENOUGH = 0.9


def full_length(desk: Desk, prompt: str, story: str, words: int) -> str:
    """``story`` with continuations: ``ENOUGH`` of ``words`` to ``words`` words, ending with a sentence where possible.

    Raises:
      CallFailed: no usable continuation.
    """
    for round_ in range(ROUNDS):
        missing = words - count(story)
        if missing <= (1 - ENOUGH) * words:
            break
        ask = (f"The task was: {prompt}\n\nThe story so far ends like this:\n{tail(story)}\n\n"
               f"Go on with the next {missing} words of the story. Do not repeat what is there.")  # fmt: skip
        # A sentence may end well before the wanted length: what is asked for is a little more than what is missing.
        story = f"{story}\n\n{desk.prose(ask, round(missing * 1.2) + 5, sample=round_)}"
    return cut(story, words, least=ENOUGH)
