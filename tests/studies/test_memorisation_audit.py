"""The memorisation audit: overlaps are those of a quadratic search; a model that knows a text by heart is found."""

import random
import re
from difflib import SequenceMatcher

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polaris_jax.errors import InputError
from polaris_jax.studies.memorisation import attack_text, longest_common_substring, overlap, read_audit_rows, run_audit
from polaris_jax.studies.memorisation.attack import AuditRow, sample_rows
from polaris_jax.studies.memorisation.overlap import strip_thinking

TEMPLATE = "<|user|>{}<|assistant|><think>\n"


def render(prompt):
    return TEMPLATE.format(prompt)


class Words:
    """A tokenizer of characters, with one control token."""

    def __init__(self):
        self.bos_id = None

    def encode(self, text):
        return [ord(character) + 10 for character in text]

    def encode_control(self, text):
        control = {"<|user|>": [1], "<|assistant|>": [2]}
        parts = re.split("(" + "|".join(map(re.escape, control)) + ")", text)
        return [token for part in parts for token in control.get(part, self.encode(part))]

    def decode(self, ids):
        return "".join(chr(token - 10) for token in ids)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(st.integers(0, 3), max_size=40), st.lists(st.integers(0, 3), max_size=40))
def test_longest_common_substring_is_that_of_a_quadratic_search(a, b):
    theirs = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    assert tuple(longest_common_substring(a, b)) == (theirs.size, theirs.a, theirs.b)


def test_longest_common_substring_of_long_texts_is_fast():
    """Where the quadratic search would need 10**10 comparisons."""
    rng = random.Random(0)
    a = [rng.randrange(50) for _ in range(100_000)]
    b = [rng.randrange(50) for _ in range(40_000)] + a[70_000:71_000] + [rng.randrange(50) for _ in range(59_000)]
    found = longest_common_substring(a, b)
    assert found.length >= 1_000
    assert a[found.start_a : found.start_a + found.length] == b[found.start_b : found.start_b + found.length]


def test_overlap_of_a_copy_that_begins_late():
    found = overlap([9, 9, 1, 2, 3], [1, 2, 3, 4])
    assert (found.prefix, found.longest, found.start_generated, found.start_gold) == (0, 3, 2, 0)


def test_thinking_that_the_template_opened_is_no_story():
    assert strip_thinking("plan</think>\n\nStory", opened=True) == "Story"
    assert strip_thinking("never ends", opened=True) == ""
    assert strip_thinking("plan</think>Story") == "plan</think>Story"


def test_attacks_open_the_thinking_block_once():
    row = AuditRow("1", "Tell me.", "Story", "My plan.\n")
    assert attack_text("gold_thinking", row, render) == "<|user|>Tell me.<|assistant|><think>\nMy plan.\n</think>\n"
    assert attack_text("gold_thinking", row, render, as_released=True).count("<think>") == 2
    assert attack_text("prompt_only", row, render) == render("Tell me.")


@pytest.fixture
def rows():
    return [AuditRow(str(n), f"Prompt {n}.", f"{n} " + "".join(map(str, range(100))), "plan") for n in range(3)]


class Parrot:
    """A model that knows every story by heart and stops when told to."""

    def __init__(self, rows, knows=True, stop_after=None):
        self.stories = [Words().encode(row.story) for row in rows]
        self.knows, self.calls, self.stop_after = knows, 0, stop_after

    def __call__(self, prompts, most):
        self.calls += len(prompts)
        if self.stop_after is not None and self.calls > self.stop_after:
            raise KeyboardInterrupt
        return [self.go_on(prompt)[:most] for prompt in prompts]

    def go_on(self, prompt):
        for story in self.stories:
            for k in (50, 100):
                if self.knows and prompt[-k:] == story[:k]:
                    return story[k:]
        return Words().encode("plan</think>" + "Nothing of the kind was ever written here, I am afraid. " * 4)


def test_a_model_that_knows_its_stories_is_caught_and_one_that_does_not_is_not(tmp_path, rows):
    caught = run_audit(rows, Words(), Parrot(rows), tmp_path / "a.jsonl", render=render, prefixes=(50, 100))
    gold = [r for r in caught if r["mode"] == "gold_thinking"]
    assert [(r["id"], r["prefix_tokens"]) for r in gold] == [(str(n), k) for n in range(3) for k in (50, 100)]
    assert all(r["prefix"] == r["longest"] == len(rows[0].story) - r["prefix_tokens"] for r in gold)
    innocent = run_audit(rows, Words(), Parrot(rows, knows=False), tmp_path / "b.jsonl", render=render, prefixes=(50,))
    assert all(r["longest"] < 5 for r in innocent)
    assert all(r["text"].startswith("Nothing") for r in innocent if r["mode"] == "prompt_only")


def test_a_killed_audit_goes_on_where_it_was(tmp_path, rows):
    out = tmp_path / "a.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_audit(rows, Words(), Parrot(rows, stop_after=4), out, render=render, prefixes=(50, 100), batch=2)
    again = Parrot(rows)
    records = run_audit(rows, Words(), again, out, render=render, prefixes=(50, 100), batch=2)
    assert again.calls == 9 - 4
    whole = run_audit(rows, Words(), Parrot(rows), tmp_path / "b.jsonl", render=render, prefixes=(50, 100))
    assert records == whole
    changed = Parrot(rows)
    run_audit(rows, Words(), changed, out, render=render, prefixes=(50, 100), identity="another model")
    assert changed.calls == 9


def test_rows_that_cannot_be_used_are_named(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(
        '{"uid": "a", "prompt": [{"role": "user", "content": "P"}], "ground_truth": "S"}\nnot json\n'
        '{"prompt": "P"}\n[1]\n'
    )
    rows, bad = read_audit_rows(file)
    assert [(r.id, r.prompt, r.story) for r in rows] == [("a", "P", "S")]
    assert [b.line for b in bad] == [2, 3, 4]
    file.write_text("\n")
    with pytest.raises(InputError, match="empty"):
        read_audit_rows(file)


def test_the_sample_is_the_same_for_the_same_seed(rows):
    many = rows * 100
    assert sample_rows(many, 10) == sample_rows(many, 10)
    assert len(sample_rows(many, 10)) == 10
    assert sample_rows(rows, 10) == rows
