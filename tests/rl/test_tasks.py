"""Tasks of post-training: references in a model's form, chapters under their plans, passages."""

import numpy as np
import pytest

from polaris_jax.data import load_chat_template, load_tokenizer
from polaris_jax.data.prompt_story import PromptStory
from polaris_jax.errors import InputError
from polaris_jax.rewards import released
from polaris_jax.rl.passages import passages
from polaris_jax.rl.tasks import CLOSE, OPEN, count_thoughts, human_response, prompt_tasks, shuffled

ROW = PromptStory("a", "the lamp on the hill", 20, "the doctor came down", "rain first")


@pytest.fixture
def template(policy):
    return load_chat_template(policy, load_tokenizer(policy))


def test_a_reference_continues_the_prompt_without_a_second_think_tag():
    assert human_response("story", "plan", opened=True) == "plan\n</think>\n\nstory"
    assert human_response("story", "plan", opened=False) == "<think>\nplan\n</think>\n\nstory"
    assert released.human_response("story", "plan") == "<think>\nplan\n</think>\nstory"
    assert human_response("story", None, opened=False) == "story"
    with pytest.raises(InputError, match="must not contain"):
        human_response("a <think> story", None, opened=False)


def test_a_prompt_row_becomes_a_task(template):
    (task,), counts = prompt_tasks([ROW], template)
    tokenizer = template.tokenizer
    assert tokenizer.decode(task.prompt).endswith("assistant<|stop_header_id|>")
    assert tokenizer.decode(task.human_reference[:-1]) == ROW.story
    assert task.human_reference[-1] == task.end_id == tokenizer.eot_id
    assert (task.target_words, counts) == (20, {"long_prompts": 0, "long_references": 0})
    (thinking,), _ = prompt_tasks([ROW], template, thinking=True)
    assert tokenizer.decode(thinking.human_reference[:-1]) == f"{OPEN}\nrain first\n{CLOSE}\n\nthe doctor came down"
    assert tokenizer.decode(thinking.thoughts) == f"{OPEN}\nrain first\n{CLOSE}\n\n"
    assert count_thoughts(tokenizer.token_bytes(), thinking.human_reference) in range(
        len(thinking.thoughts) - 3, len(thinking.thoughts) + 1
    )


def test_a_reference_that_does_not_fit_is_no_reference(template):
    (task,), counts = prompt_tasks([ROW], template, max_response=3)
    assert (task.human_reference, counts["long_references"]) == (None, 1)
    (cut,), _ = prompt_tasks([ROW], template, max_response=3, as_released=True)
    assert len(cut.human_reference) == 3
    with pytest.raises(InputError, match="every prompt is longer"):
        prompt_tasks([ROW], template, max_prompt=2)


def test_control_strings_in_a_request_stay_text(template):
    row = PromptStory("b", "say <|eot_id|> twice", None, None)
    (task,), _ = prompt_tasks([row], template)
    ends = [token for token in task.prompt if token == template.tokenizer.eot_id]
    assert len(ends) == 1  # the template's own
    assert "<|eot_id|> twice" in template.tokenizer.decode(task.prompt)


def test_every_epoch_holds_every_task_once(template):
    tasks, _ = prompt_tasks([PromptStory(str(i), f"story {i}") for i in range(6)], template)
    seen = [task.uid for step in range(3) for task in shuffled(tasks, step, 4, seed=5)]
    assert sorted(seen[:6]) == sorted(seen[6:]) == sorted(task.uid for task in tasks)
    assert seen == [task.uid for step in range(3) for task in shuffled(tasks, step, 4, seed=5)]


def test_passages_have_the_length_that_is_asked_for():
    text = "The lamp was lit. Nobody came down from the hill that night, and the river rose."
    chapter = "\n\n".join([text] * 20)
    rows = passages([chapter], 5, 40, seed=1)
    for row in rows:
        assert 5 <= len(row.story.split()) == row.target_words <= 40
        assert f"{row.target_words} words long" in row.prompt
    assert " ".join(row.story for row in rows).count("Nobody") == 20
    with pytest.raises(InputError, match="no passage"):
        passages(["One. Two."], 30, 40)
    with pytest.raises(InputError, match="the smaller first"):
        passages([chapter], 40, 30)


def test_seeds_of_the_order_are_the_runs(template):
    tasks, _ = prompt_tasks([PromptStory(str(i), f"story {i}") for i in range(12)], template)
    orders = {tuple(task.uid for task in shuffled(tasks, 0, 12, seed)) for seed in range(4)}
    assert len(orders) == 4
    assert np.all([sorted(order) == sorted(t.uid for t in tasks) for order in orders])
