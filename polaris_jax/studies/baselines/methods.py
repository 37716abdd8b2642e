"""The methods by name."""

from collections.abc import Callable

from polaris_jax.studies.baselines.direct import direct
from polaris_jax.studies.baselines.doc import doc
from polaris_jax.studies.baselines.dynamic_outline import dynamic_outline
from polaris_jax.studies.baselines.plan_and_write import plan_and_write
from polaris_jax.studies.baselines.re3 import re3
from polaris_jax.studies.baselines.story_client import StoryClient

METHODS: dict[str, Callable[[StoryClient, str, int], str]] = {
    "direct": direct,
    "plan-and-write": plan_and_write,
    "re3": re3,
    "doc": doc,
    "dynamic-outline": dynamic_outline,
}
