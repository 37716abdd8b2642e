"""Books in Chinese, Arabic, Hebrew and with emoji: what may be written, how it is counted, where sentences end."""

import random
import unicodedata
from dataclasses import replace

import pytest

from polaris_jax.errors import InputError
from polaris_jax.trajectory import (
    MINI,
    check,
    close_prose,
    count_words,
    mini_profile,
    next_step,
    open_transcript,
    phrases,
    validate,
)
from polaris_jax.trajectory.scripts import SCRIPTS, alphabet, bytes_per_character, scripts_of, unknown_letters
from polaris_jax.trajectory.sentences import last_sentence_end

SAMPLES = {
    "cjk": "他说：“灯塔还亮着。”夜里的风很大。",
    "arabic": "قال الحارس: شكرًا، المصباح مضاء. هل تسمع البحر؟",
    "hebrew": "שומר המגדלור אמר: האור עדיין דולק.",
    "emoji": "The lamp 🔥 is lit ⚓.",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_script_is_written_by_the_profile_that_names_it_and_by_no_other(name):
    prose = SAMPLES[name] + "\n```"
    assert phrases.prose((name,)).matches(prose)
    assert not phrases.prose().matches(prose)
    assert scripts_of(SAMPLES[name]) == (name,)
    assert not unknown_letters(SAMPLES[name])


@pytest.mark.parametrize("scripts", [("cjk",), ("arabic",), ("hebrew", "emoji"), tuple(SCRIPTS)])
def test_a_sampled_book_of_any_script_is_strictly_valid(scripts):
    profile = replace(
        mini_profile(2048, chapters=(2, 2), arcs=(1, 1), chapter_words=(50, 60)), scripts=scripts, name_chars=30
    )
    transcript, rng = open_transcript("A book."), random.Random(str(scripts))
    while (step := next_step(transcript, profile)) is not None:
        texts = (unicodedata.normalize("NFC", step.grammar.sample(rng)) for _ in range(99))
        text = next(text for text in texts if step.grammar.matches(text) and not step.accept(text))
        transcript = step.apply(transcript, text)
    verdict = check(transcript, "strict")
    assert verdict.ok, verdict.violations[:3]
    assert set(scripts_of(transcript)) & set(scripts)


CHINESE = "\n".join(
    [
        "## Book Highlight",
        "灯塔的守望者，" * 10 + "他等着。",
        "\n## Book Title",
        "灯塔守望者",
        "\n## Book Tags",
        *(f"- {tag}" for tag in ("海洋", "孤独", "记忆", "风暴", "家庭", "秘密", "希望")),
        "\n## Book Archetype",
        "一个老人守着光，" * 8,
    ]
)


def test_a_chinese_preview_counts_characters_and_is_strictly_valid_where_the_release_knows_latin_only():
    assert validate("book_preview", CHINESE, "strict").ok
    assert not validate("book_preview", CHINESE, "reference").ok
    short = CHINESE.replace("灯塔的守望者，" * 10, "灯塔的守望者，")
    assert not validate("book_preview", short, "strict").ok  # 10 characters are not 55 words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("他说：“你好。”Tom去了 London", 8),
        ("カメラ、見た", 5),
        ("مرحبا بكم في البيت", 4),
        ("שלום עולם", 2),
        ("a — b", 3),  # as in the release: split at white space
        ("", 0),
    ],
)
def test_words_are_counted_as_the_script_counts_them(text, words):
    assert count_words(text) == words


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("他走了。她没有", "他走了。"),
        ("「行くの？」彼は", "「行くの？」"),
        ("ذهب؟ ثم عاد", "ذهب؟"),
        ("He left. Then s", "He left."),
        ("No. 5 is 3.5 long", "No."),
    ],
)
def test_prose_is_closed_after_the_last_sentence_of_its_script(text, kept):
    assert text[: last_sentence_end(text)] == kept
    assert close_prose(text) == f"{kept}\n```"


def test_alphabets_keep_to_normal_form_c_character_by_character():
    for name, script in SCRIPTS.items():
        for low, high in (script.letters | script.marks).ranges:
            for code in range(low, high + 1):
                assert unicodedata.is_normalized("NFC", chr(code)), (name, hex(code))
    assert "<" not in alphabet(tuple(SCRIPTS))
    assert (bytes_per_character(()), bytes_per_character(("cjk",)), bytes_per_character(("arabic",))) == (3, 4, 3)


def test_an_unknown_script_is_named():
    with pytest.raises(InputError, match="klingon"):
        replace(MINI, scripts=("klingon",))
    assert unknown_letters("हिन्दी and ไทย")[0] == "ह"
