"""Reference verdicts: the published conformance cases and the published example transcript."""

import json
import os
from pathlib import Path

import pytest

from polaris_jax import trajectory
from polaris_jax.trajectory import LossPolicy, check, next_step, parse, render, spans, split_stages, validate

SPECS = Path(os.environ.get("POLARIS_SHARED", Path(__file__).parents[2].parent / "shared")) / "specs"
GOLDEN, EXAMPLE = SPECS / "trajectory_golden.json", SPECS / "trajectory_example.txt"

if not GOLDEN.exists() or not EXAMPLE.exists():
    pytest.skip(f"no conformance data in {SPECS} (set POLARIS_SHARED)", allow_module_level=True)

golden = json.loads(GOLDEN.read_text())
example = EXAMPLE.read_text()


@pytest.mark.parametrize("name", golden["elements"])
def test_reference_verdicts(name):
    element = golden["elements"][name]
    wrong = [
        case["text"]
        for case in element["cases"]
        if bool(validate(name, case["text"], params=element.get("params"))) != case["match"]
    ]
    assert not wrong


@pytest.mark.parametrize("name", golden["elements"])
def test_strict_accepts_nothing_the_reference_rejects(name):
    element = golden["elements"][name]
    for case in element["cases"]:
        if not case["match"]:
            assert not validate(name, case["text"], "strict", params=element.get("params"))


ARGUMENTS = {
    "word_count_upper_bound": lambda case, group: (case["value"],),
    "trim_stage_text": lambda case, group: (case["text"], case["strip_leading_blank_lines"]),
    "extract_planned_chapters": lambda case, group: (case["text"],),
    "merge_prefilled_text": lambda case, group: (group["prefill"], case["generated"]),
    "book_filename": lambda case, group: (case["title"],),
    "render_prompt": lambda case, group: (case["prompt"], case["completed"], case["next"]),
}


@pytest.mark.parametrize("name", golden["functions"])
def test_helper_functions(name):
    group = golden["functions"][name]
    for case in group["cases"]:
        expected = case["bound"] if "bound" in case else case["result"]
        try:
            found = getattr(trajectory, name)(*ARGUMENTS[name](case, group))
        except ValueError:
            found = "error"
        assert found == expected
        if case.get("token_budget", "error") != "error":
            assert case["token_budget"] == 2 * found


def test_the_example_is_valid_in_every_mode_and_round_trips():
    for mode in ("reference", "strict", "corpus"):
        verdict = check(example, mode)
        assert verdict.ok, [str(violation) for violation in verdict.violations]
    assert render(parse(example)) == example
    assert [part.text for part in split_stages(example)] == [
        trajectory.trim_stage_text(part.text) for part in split_stages(example)
    ]


def test_the_example_is_supervised_after_its_prompt():
    found = spans(example)
    assert (found[0].start, found[0].end, found[0].weight) == (0, 433, 0.0)
    assert sum((span.end - span.start) for span in found if span.weight) == 15_672
    assert not any(span.weight for span in spans(example, LossPolicy(True, True, 0.0, 0.0)))


def test_our_steps_sample_at_the_temperatures_of_the_reference():
    settings = {(call["role"], call["temperature"], call["top_k"]) for call in golden["call_trace"]}
    ours, parts = set(), split_stages(example)
    for part in parts[1:]:
        text_start = len(example[: part.text_start])
        for offset in (0, 1_000, 3_500, 4_200):
            if text_start + offset < part.end:
                step = next_step(example[: text_start + offset], trajectory.FULL_BOOK)
                ours.add((step.role, step.temperature, step.top_k))
    assert {setting for setting in settings if setting[0] != "book_plan"} <= ours
    assert ours <= settings
