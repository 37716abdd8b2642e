"""Judge ratings of properties that need a reader: deception, moral ambiguity, unreliable narration, explanation.

A language model rates every story on four scales of 1 to 5, several samples each, by the rubric below. Optional, since
it costs calls. Judges share the assistant style under study, so their ratings count only beside the measures that need
no judge.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from polaris_jax.llm import CallFailed, Client, Request
from polaris_jax.studies.style.stories import Story

VERSION = "style-1"
SCALES = {
    "deception": "Somebody in the story hides, lies or misleads, and the story knows more than that person says.",
    "moral_ambiguity": "A reader could defend more than one judgment of what the characters do; the text does not "
    "decide for the reader.",
    "unreliable_narration": "The teller's account cannot be taken at its word: gaps, self-deceit, contradiction.",
    "explained": "The text states feelings, motives and lessons outright instead of letting them be inferred.",
}
_SCHEMA = json.dumps(
    {
        "type": "object",
        "additionalProperties": False,
        "required": list(SCALES),
        "properties": {name: {"type": "integer", "minimum": 1, "maximum": 5} for name in SCALES},
    }
)
_RUBRIC = (
    "You rate one property of fiction at a time, not its quality. For each scale give an integer: 1 = absent, "
    "2 = a trace, 3 = present in part, 4 = clearly present, 5 = the story lives from it.\n"
    + "\n".join(f"- {name}: {text}" for name, text in SCALES.items())
)
MAX_WORDS = 1_500


@dataclass(frozen=True)
class StoryRating:
    """Mean rating of a story per scale over its usable draws, and their number."""

    story: str
    ratings: dict[str, float]
    draws: int


def rate_stories(client: Client, stories: Sequence[Story], draws: int = 1) -> list[StoryRating]:
    """Rates every story; one without a usable answer has no ratings and ``draws`` 0.

    Args:
      draws: ratings per story, averaged.

    Raises:
      BudgetSpent: the client's budget does not allow the next call; the answers so far are in its cache.
    """
    requests = [_request(story, sample) for story in stories for sample in range(draws)]
    replies = client.ask_all(requests)
    found = []
    for index, story in enumerate(stories):
        given = [r.data for r in replies[index * draws : (index + 1) * draws] if not isinstance(r, CallFailed)]
        means = {name: sum(rating[name] for rating in given) / len(given) for name in SCALES} if given else {}
        found.append(StoryRating(story.name, means, len(given)))
    return found


def _request(story: Story, sample: int) -> Request:
    # Equal length for all stories: a longer text has more of everything.
    text = " ".join(story.text.split(" ")[:MAX_WORDS])
    return Request(
        (("system", _RUBRIC), ("user", f"The story:\n\n{text}\n\nRate it on the {len(SCALES)} scales.")),
        schema=_SCHEMA,
        temperature=0.0 if sample == 0 else 0.7,
        max_tokens=128,
        seed=0,
        sample=sample,
        purpose="style",
        version=VERSION,
    )
