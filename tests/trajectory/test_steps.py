"""The writer's steps: whatever is sampled inside the grammars, the book is strict-valid; resuming loses nothing."""

import random

import pytest
from decoding import decoder_accepts

from polaris_jax.errors import InputError
from polaris_jax.trajectory import (
    FIRST_CHAPTER,
    FULL_BOOK,
    MINI,
    check,
    close_prose,
    extract_planned_chapters,
    mini_profile,
    next_step,
    open_transcript,
    parse,
    split_stages,
)

TINY = mini_profile(2_048, chapters=(2, 2), arcs=(1, 1), chapter_words=(50, 100))


def write(transcript, profile, rng, steps=None, watch=lambda step, text: None):
    while steps is None or steps > 0:
        step = next_step(transcript, profile)
        if step is None:
            break
        text = step.grammar.sample(rng)
        for _ in range(20):  # a writer tries again a few times and then accepts a repeated chapter name
            if not step.accept(text):
                break
            text = step.grammar.sample(rng)
        watch(step, text)
        transcript = step.apply(transcript, text)
        steps = None if steps is None else steps - 1
    return transcript


@pytest.mark.parametrize("profile", [TINY, MINI, mini_profile(16_384, chapters=(3, 5), arcs=(2, 3)), FIRST_CHAPTER])
def test_any_sampled_book_is_strict_valid(profile):
    for seed in range(2):
        transcript = write(open_transcript("A prompt."), profile, random.Random(seed))
        verdict = check(transcript, "strict")
        assert verdict.ok, [str(violation) for violation in verdict.violations]
        assert not verdict.truncated
        assert verdict.family == profile.family
        assert next_step(transcript, profile) is None


def test_bounds_of_the_profile_hold():
    profile = mini_profile(8_192, chapters=(4, 6), arcs=(2, 2), chapter_words=(200, 400))
    for seed in range(4):
        transcript = write(open_transcript("A prompt."), profile, random.Random(seed), steps=24)
        chapters = extract_planned_chapters(split_stages(transcript, partial=True)[2].text)
        assert 4 <= len(chapters) <= 6
        assert all(200 <= chapter["chapter_word_count"] <= 400 for chapter in chapters)
        assert len({chapter["chapter_name"] for chapter in chapters}) == len(chapters)


def test_scene_counts_add_up_to_the_chapter_within_a_quarter():
    for seed in range(3):
        book = parse(write(open_transcript("A prompt."), MINI, random.Random(seed)))
        for chapter in book.chapters:
            assert abs(sum(scene.word_count for scene in chapter.scenes) - chapter.word_count) * 4 <= chapter.word_count


@pytest.mark.parametrize("profile", [MINI, FIRST_CHAPTER, FULL_BOOK])
def test_the_decoder_accepts_samples_and_rejects_what_the_grammar_rejects(profile):
    rng = random.Random(7)
    seen = set()

    def watch(step, text):
        kind = step.name.rstrip("0123456789")
        if kind in seen:
            return
        seen.add(kind)
        lark = step.grammar.lark()
        assert decoder_accepts(lark, text), step.name
        at = rng.randrange(len(text))
        for damage in ("\n", "<", "\n\n\n", "  \n"):
            mutated = text[:at] + damage + text[at:]
            assert decoder_accepts(lark, mutated) == step.grammar.matches(mutated), (step.name, mutated)

    write(open_transcript("A prompt."), profile, rng, steps=24 if profile is FULL_BOOK else 60, watch=watch)
    assert len(seen) > 5


def test_a_book_cut_anywhere_is_taken_up_again():
    rng = random.Random(3)
    whole = write(open_transcript("A prompt."), TINY, rng)
    begin = len(open_transcript("A prompt."))
    for cut in sorted(rng.sample(range(begin, len(whole)), 25)):
        step = next_step(whole[:cut], TINY)
        assert step.start <= cut
        assert whole[step.start :].startswith(step.prefill)
    verdict = check(write(whole[:cut], TINY, rng), "strict")
    assert verdict.ok


def test_a_finished_step_is_never_written_twice():
    rng, transcript = random.Random(5), open_transcript("A prompt.")
    while (step := next_step(transcript, TINY)) is not None:
        assert step.start == len(transcript)
        transcript = step.apply(transcript, step.grammar.sample(rng))


def test_a_person_may_edit_a_finished_stage_beyond_the_profile():
    transcript = write(open_transcript("A prompt."), TINY, random.Random(1))
    plan = split_stages(transcript)[2]
    many = "".join(f"- An added rule, number {n}.\n" for n in range(30))
    edited = transcript[: plan.end].replace("## World Rules\n", "## World Rules\n" + many)
    finished = write(edited, TINY, random.Random(2))
    assert check(finished, "strict").ok
    assert "number 29" in finished


def test_what_must_be_copied_is_prefilled(transcript):
    parts = split_stages(transcript)
    step = next_step(transcript[: parts[2].end], MINI)
    assert step.prefill == (
        "<|start_header_id|>first_chapter_plan<|stop_header_id|>\n\n### Chapter 1: The Lamp\n**Word Count:** 200\n"
        "**Embedding Space:** action: 10, dialog: 20, world_building: 30, exposition: 40, romantic: 0, erotic: 0, "
        "pacing: 50\n"
        "**Narrative Focuses:** "
    )
    step = next_step(transcript[: parts[7].end], MINI)
    assert step.prefill.endswith("### Chapter 2: The Ship\n```\n")
    assert (step.temperature, step.target_words, step.suffix) == (0.2, 200, "<|eot_id|>")


def test_budgets_follow_the_word_count_and_the_cap(transcript):
    prose = split_stages(transcript)[4]
    assert next_step(transcript[: prose.start], FULL_BOOK).max_tokens == 2 * 282
    assert next_step(transcript[: prose.start], TINY).max_tokens == 512


def test_the_writer_refuses_what_it_cannot_continue(transcript):
    with pytest.raises(InputError, match="open_transcript"):
        next_step("", MINI)
    parts = split_stages(transcript)
    with pytest.raises(InputError, match="expected stage book_preview"):
        next_step(transcript[: parts[0].end] + transcript[parts[2].start :], MINI)
    with pytest.raises(InputError, match="book_plan"):
        next_step(transcript[: parts[2].end].replace("* 2\n", "* 3\n"), MINI)


def test_profiles_refuse_impossible_bounds():
    impossible = (
        {"chapters": (1, 3)},
        {"arcs": (4, 4), "chapters": (2, 3)},
        {"chapter_words": (51, 59)},
        {"rules": (3, 2)},
    )
    for bounds in impossible:
        with pytest.raises(InputError, match="profile"):
            mini_profile(8_192, **bounds)


def test_overlong_prose_is_closed_at_its_last_sentence():
    assert close_prose("One. Two?” Thr") == "One. Two?”\n```"
    assert close_prose("no end at all") == "no end at all\n```"
    with pytest.raises(InputError):
        close_prose("\n")
