"""An answer with half of the criteria, or cut off, is no judgement; a number named in passing is no score."""

import pytest
from judges import evaluate, rows, story_file
from servers import completion

from polaris_jax.evals.benches import Unusable, eqbench_longform, open_bench
from polaris_jax.evals.generations import Generation

STORY = Generation("1", "Tell of a ferry.", "The ferry left.", 3, "m", {})
ALL = tuple(eqbench_longform.CRITERIA)
CUT = "[Analysis]\nGood people in it.\n\n[Scores]\nNuanced Characters: 18\nEmotionally Engaging: 17\nCompelling Pl"


def scores(lines):
    return "[Analysis]\nAs read.\n\n[Scores]\n" + "\n".join(lines)


def read(answer):
    return open_bench("eqbench-longform").read_answer(answer, STORY, "story")


@pytest.mark.parametrize(
    "answer",
    [
        scores(f"{name}: 12" for name in ALL),
        scores(f"{name}: 12-15" for name in ALL),
        "<think>"
        + scores(["Coherent: 1", "Nuanced Characters: 1", "maybe"])
        + "</think>\n"
        + scores(f"{n}: 12" for n in ALL),
    ],
    ids=["plain", "ranges", "after a draft"],
)
def test_a_whole_answer_is_read(answer):
    found = read(answer)
    assert (found["rated"], found["weighted"]) == (12, 41.58)


@pytest.mark.parametrize(
    "answer",
    [
        CUT,
        scores(f"{name}: 12" for name in ALL[:5]),
        scores(["Coherent: 20", ""]),
        scores(f"{name}: 4" for name in ALL if name != eqbench_longform.FORCED),
        "[Analysis]\nCoherent: 3 acts, tidy.\n\nNuanced Characters: 15\n",
    ],
    ids=["cut", "five of twelve", "one line", "all but the heaviest", "no scores, two names in prose"],
)
def test_an_answer_without_every_criterion_is_unusable(answer):
    with pytest.raises(Unusable):
        read(answer)


def test_an_answer_half_in_bold_is_read_whole():
    mixed = scores(f"**{name}**: 4" if name in eqbench_longform.VIRTUES else f"{name}: 4" for name in ALL)
    assert read(mixed)["weighted"] == read(scores(f"{name}: 4" for name in ALL))["weighted"]


def test_apostrophes_are_alike():
    assert read(scores(f"{name}: 12" for name in ALL)) == read(scores(f"{name}: 12".replace("'", "’") for name in ALL))


@pytest.fixture
def failed_of(tmp_path, judge_server):
    """``failed_of(bench, answer)``: how many answers about a story failed when the judge always gives that one."""

    def run(bench, answer):
        judge = judge_server({"ferry": answer})
        file = story_file(tmp_path / "stories.jsonl", {"a": "The ferry left."})
        evaluate(bench, tmp_path / "out", f"--generations=alpha={file}", f"--judge={judge.judge}", "--attempts=1")
        [row] = rows(tmp_path / "out" / "scores.jsonl")
        return row["failed"]

    return run


def test_an_answer_cut_at_its_limit_is_a_failed_answer(failed_of):
    assert failed_of("eqbench-longform", completion(CUT, finish="length")) == 1


def test_an_answer_of_four_thousand_brackets_is_a_failed_answer(failed_of):
    assert failed_of("longbench-write", completion("[" * 4000)) == 1


def test_chinese_is_counted_in_characters():
    """As LongWriter counts: 1,100 characters for a request of a thousand."""
    story = "他在雨夜里点起灯塔的灯。" * 100
    assert Generation("a", "写一个一千字的故事", story, 1000).words == 1100
