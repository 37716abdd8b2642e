"""Text that judges write around the JSON that they were asked for, and replies that hold no JSON."""

import pytest
from rubric_replies import PROMPT, STORY, brief
from servers import completion

from polaris_jax.rewards import read_replies


@pytest.mark.parametrize(
    "answer",
    [
        brief(),
        f"Here is my evaluation of the story:\n\n{brief()}\n\nLet me know if you need more.",
        f"```json\n{brief()}\n```",
        brief().replace(": 2", ': "2"'),
        brief().replace('"', "'"),
        brief().replace("}", ",}"),
    ],
    ids=["alone", "behind a sentence", "in a fence", "numbers as text", "single quotes", "trailing comma"],
)
def test_a_sheet_is_read(proxy, connect, answer):
    proxy.always = {"w": completion(answer)}
    judged = connect(proxy, attempts=1).judge(PROMPT, STORY)
    assert judged.failed is None
    assert judged.rubric_scores == read_replies([brief()]).rubric_scores


def test_two_different_sheets_are_none(proxy, connect):
    proxy.always = {"w": completion(f"{brief()} or perhaps {brief(positive=9)}")}
    assert connect(proxy, attempts=1).judge(PROMPT, STORY).failed == "ambiguous"


def test_four_thousand_brackets_are_a_failed_judgement(proxy, connect):
    proxy.always = {"w": completion("[" * 4000)}
    assert connect(proxy, attempts=1).judge(PROMPT, STORY).failed == "invalid_json"
