"""Direct prompting: the story in one answer. What a person tries first."""

from polaris_jax.evals.baselines.desk import Desk


def direct(desk: Desk, prompt: str, words: int) -> str:
    """The story of one prompt, without a plan."""
    return desk.prose(f"{prompt}\n\nWrite the story in about {words} words.", words)
