"""A damaged stage or transcript is refused, with the gate and the place of the damage."""

import time

import pytest

from polaris_jax.errors import InputError
from polaris_jax.trajectory import check, describe_transcript, split_stages, validate


def gates(verdict) -> set[str]:
    return {violation.gate for violation in verdict.violations}


@pytest.mark.parametrize(
    ("old", "new", "gate", "place"),
    [
        ("### Arc 2: Leaving\n- He leaves the", "### Arc 2: Going\n- He leaves the", "V2", "book_plan, ## Medium"),
        ("### Arc 2: Leaving\n- He leaves.", "### Arc 3: Leaving\n- He leaves.", "V2", "arc_number"),
        ("* 2\n", "* 3\n", "V3", "## Number of Chapters"),
        ("- Chapter 2: The Ship\n", "- Chapter 2: A Ship\n", "V4", "## Chapters"),
        ("#### 3\n150", "#### 3\n151", "G1", "line"),
        ("\n\n## Medium Story Arcs", "## Medium Story Arcs", "S1", "line"),
        ("\n\n## Writing Style", "\n\n\n## Writing Style", "S1", "line"),
        ("- Plain.\n", "- Plain. \n", "V10", "line"),
        ("Mara", "Mara\u0301", "S5", "stage 6 book_characters_list, line 6"),
        ("action: 10", "action: 010", "V1", "line"),
        ("action: 10", "action: 01", "S1", "dimension"),
        ("#### Scene 2: Dawn of Chapter 2", "#### Scene 3: Dawn of Chapter 2", "V6", "stage 7 scene_breakdown"),
        ("### Chapter 2: The Ship\n#### Scene", "### Chapter 2: A Ship\n#### Scene", "V4", "stage 7 scene_breakdown"),
        ("### 3\n```\nsea", "### 4\n```\nsea", "V4", "stage 10 chapter_text"),
        ("sea.\n\nThe end.\n```", "sea.\n\nThe end.", "V1", "prose"),
        ("sea.\n\nThe end.\n```", "sea.\n```\nThe end.\n```", "V9", "prose"),
        ("**Word Count:** 200\n", "**Word Count:** 250\n", "V4", "word count"),
    ],
)
def test_damage_is_named_in_strict_mode(transcript, old, new, gate, place):
    assert old in transcript
    damaged = transcript.replace(old, new)
    verdict = check(damaged, "strict")
    assert not verdict
    assert any(violation.gate == gate and place in violation.place for violation in verdict.violations), [
        str(violation) for violation in verdict.violations
    ]


def test_the_reference_lets_its_quirks_pass(transcript):
    quirky = transcript.replace("\n\n## Medium Story Arcs", "## Medium Story Arcs").replace("* 2\n", "* 7\n")
    assert check(quirky, "reference").ok
    assert not check(quirky, "strict").ok


@pytest.mark.parametrize(
    ("old", "new", "gate"),
    [("sea sea sea", "sea", "V5"), ("action: 10, dialog: 20", "action: 10, dialog: 90", "V7")],
)
def test_what_only_real_prose_can_satisfy_is_asked_of_a_corpus(transcript, old, new, gate):
    plan_end = transcript.index("<|start_header_id|>first_chapter_plan")
    changed = (
        transcript.replace(old, new)
        if gate == "V5"
        else (
            transcript[:plan_end].replace(old, new)
            + transcript[plan_end:].replace("**Embedding Space:** " + old, "**Embedding Space:** " + new, 1)
        )
    )
    assert check(transcript, "corpus").ok
    assert gate in gates(check(changed, "corpus"))
    assert gate not in gates(check(changed, "strict"))


def test_stages_out_of_order_or_missing_are_reported(transcript):
    parts = split_stages(transcript)
    without_characters = transcript[: parts[6].start] + transcript[parts[6].end :]
    assert "expected stage book_characters_list" in check(without_characters, "strict").violations[0].message
    stopped = check(transcript[: parts[5].end], "strict")
    assert "ends, expected stage book_characters_list" in stopped.violations[0].message
    assert not stopped.truncated
    doubled = transcript + transcript[parts[-1].start :]
    assert "V3" in gates(check(doubled, "strict"))
    assert "V1" in gates(check("nonsense", "strict"))


def test_every_stage_is_described(transcript):
    rows = describe_transcript(transcript.replace("* 2\n", "* two\n"))
    assert [row["role"] for row in rows][:3] == ["prompt", "book_preview", "book_plan"]
    assert (rows[1]["ok"], rows[1]["violation"], rows[2]["ok"]) == (True, None, False)
    assert "chapter_count" in rows[2]["violation"]
    assert rows[4]["words"] == 200 + 7  # heading and fences count as words of the stage
    with pytest.raises(InputError):
        describe_transcript("nonsense")


def test_single_elements_can_be_judged():
    assert validate("bullet_line", "- x")
    assert not validate("bullet_line", "* x")
    assert validate("chapters_word_count_section", "### Arc 1: A\n#### C\n2345")
    assert not validate("chapters_word_count_section", "### Arc 1: A\n#### C\n2345", "strict")
    assert validate("chapters_word_count_section", "### Arc 1: A\n#### C\n2300", "strict")
    planned = {"chapter_name": "A", "chapter_word_count": 50, "chapter_embedding_space": "x"}
    with pytest.raises(InputError, match="planned chapter"):
        validate("chapter_plan_step_first", "x")
    assert not validate("chapter_plan_step_first", "x", params=planned)
    with pytest.raises(InputError, match="role_or_element"):
        validate("poem", "x")
    with pytest.raises(InputError, match="mode"):
        validate("bullet_line", "- x", "lenient")


def test_a_violation_says_what_was_expected_where():
    violation = validate("arc_header", "### Arc 0: A\n").violations[0]
    assert violation.place == "line 1, column 9, arc_number"
    assert "expected arc number" in violation.message


def test_long_stages_are_judged_quickly():
    cards = "\n\n".join(
        f"### Chapter {n}\n**Word Count:** 2000\n**Embedding Space:** action: 1, dialog: 2, world_building: 3, "
        "exposition: 4, romantic: 5, erotic: 6, pacing: 7\n**Narrative Focuses:** one; two; three\n"
        "**Chapter Summary:**\n" + "\n".join("- " + "word " * 40 + "end." for _ in range(20))
        for n in range(2, 80)
    )
    assert len(cards) > 300_000
    begin = time.perf_counter()
    assert validate("full_book_chapters_plan", cards, "strict")
    assert not validate("full_book_chapters_plan", cards + "x" * 400)
    assert time.perf_counter() - begin < 5  # about 0.3 s when the machine is idle
