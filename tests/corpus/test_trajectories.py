"""One novel under each profile."""

from dataclasses import replace

import pytest
from corpus_library import NOVEL, OPTIONS

from polaris_jax.corpus import BuildOptions
from polaris_jax.corpus.stage_timer import STAGES, StageTimer
from polaris_jax.corpus.trajectories import NovelRefused, make_trajectories
from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import check, parse


@pytest.fixture(scope="module")
def novel():
    return read_novel(NOVEL)


@pytest.fixture(scope="module")
def make(novel, tokenizer):
    def make(**options):
        timer = StageTimer()
        made = make_trajectories(novel, OfflineAnnotator(), BuildOptions(**options).resolved(), tokenizer, timer)
        assert set(timer.seconds) <= set(STAGES)
        return made

    return make


@pytest.fixture(scope="module")
def whole(make):
    (made,) = make(profile="full")
    return made


def test_the_full_profile_is_the_whole_novel(whole, novel):
    book = parse(whole.transcript)
    assert len(book.chapters) == len(novel.chapters) == whole.facts["chapters"]
    assert not whole.facts["truncated"]
    assert sum(whole.facts["by_kind"].values()) == whole.facts["tokens"] == len(whole.encoded)
    assert whole.facts["fallback"] == {}
    assert whole.facts["fields"]["chapters/summary"] == len(book.chapters)
    assert whole.facts["fields"]["prompts"] == 4


def test_a_book_longer_than_the_window_is_cut_after_a_chapter(whole, make):
    window = int(0.9 * len(whole.encoded))
    (cut,) = make(profile="full", window=window)
    assert len(cut.encoded) <= window
    assert cut.facts["truncated"]
    assert whole.transcript.startswith(cut.transcript)
    verdict = check(cut.transcript, "strict")
    assert verdict.ok
    assert verdict.truncated
    assert len([stage for stage in verdict.stages if stage.role.endswith("_text")]) >= 6


@pytest.mark.parametrize("share", [0.6, 0.1])
def test_a_book_of_which_too_little_fits_is_refused(whole, make, share):
    with pytest.raises(NovelRefused, match=r"fewer than 60%"):
        make(profile="full", window=int(share * len(whole.encoded)))


def test_the_first_chapter_profile_speaks_the_other_protocol(make, novel):
    (made,) = make(profile="first_chapter")
    verdict = check(made.transcript, "strict")
    assert verdict.ok
    assert verdict.family == "first_chapter"
    assert novel.chapters[0].text in made.transcript
    assert novel.chapters[1].text not in made.transcript
    with pytest.raises(NovelRefused, match="more than the window"):
        make(profile="first_chapter", window=1500)


def test_every_prompt_gets_a_trajectory_of_the_same_book(make):
    made = make(profile="full", prompts=2)
    assert [one.facts["prompt"] for one in made] == [0, 1]
    books = [parse(one.transcript) for one in made]
    assert books[0].prompt != books[1].prompt
    assert replace(books[0], prompt="") == replace(books[1], prompt="")


def test_small_volumes_are_spread_over_the_novel(make):
    few, many = make(**_mini(per_book=2)), make(**_mini())
    assert len(few) == 2 < len(many)
    assert [few[0].transcript, few[1].transcript] == [many[0].transcript, many[-1].transcript]


def _mini(**more):
    return {"window": OPTIONS.window, "chapters": (2, 3), "chapter_words": 300} | more


@pytest.mark.parametrize(
    "wrong",
    [
        {"profile": "tiny"},
        {"window": -1},
        {"prompts": 5},
        {"shares": (1.0, 2.0)},
        {"shares": (0.0, 0.0, 0.0)},
        {"max_fallback": 2.0},
        {"per_book": -1},
    ],
)
def test_impossible_options_are_refused(wrong):
    with pytest.raises(InputError):
        BuildOptions(**wrong)


def test_options_from_a_config_file():
    options = BuildOptions.of({"profile": "full", "window": 131_072, "chapters": [2, 4], "max_fallback": 0})
    assert options == BuildOptions("full", 131_072, chapters=(2, 4), max_fallback=0.0)
    with pytest.raises(InputError, match="windw"):
        BuildOptions.of({"windw": 3})
    with pytest.raises(InputError, match="must be int"):
        BuildOptions.of({"window": "large"})


def test_size_limits_follow_the_profile():
    full, mini = BuildOptions("full").resolved(), BuildOptions("mini").resolved()
    assert (full.min_words, full.max_words, full.window) == (25_000, 450_000, 262_144)
    assert (mini.min_words, mini.window) == (2_000, 8_192)
    assert BuildOptions("full", min_words=9).resolved().min_words == 9
