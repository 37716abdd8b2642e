"""Direct prompting: the story in one answer."""

from polaris_jax.studies.baselines.story_client import StoryClient


def direct(client: StoryClient, prompt: str, words: int) -> str:
    """The story of one prompt, without a plan."""
    return client.prose(f"{prompt}\n\nWrite the story in about {words} words.", words)
