"""``polaris pairs``: novels become prompts with stories, and no author is both trained on and held out."""

import json
from importlib.resources import files

import pytest

from polaris_jax.cli import main
from polaris_jax.corpus.prompt_story import PairOptions, build_pairs, derive_pairs
from polaris_jax.data.prompt_story import read_prompt_stories
from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.rewards import requested_words, without_length_request
from polaris_jax.rewards.length import count_words
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books


@pytest.fixture(scope="module")
def novel_path():
    return min(
        (path for path in (files("polaris_jax.library") / "books").iterdir() if path.name.endswith(".txt")),
        key=lambda path: path.stat().st_size,
    )


@pytest.fixture(scope="module")
def planned(novel_path):
    novel = read_novel(novel_path)
    return novel, build_books(novel, OfflineAnnotator(), FULL)[0]


@pytest.mark.parametrize(("split", "bounds"), [("train", (1000, 4000)), ("test", (1000, 12000))])
def test_stories_keep_to_the_lengths_and_the_prompt_says_so(planned, split, bounds):
    novel, book = planned
    pairs = derive_pairs(book, novel, split)
    assert pairs
    assert len({pair.uid for pair in pairs}) == len(pairs)
    prose = "\n\n".join(chapter.text for chapter in novel.chapters)
    place = 0
    for pair in pairs:
        words = count_words(pair.story)
        assert bounds[0] <= words <= bounds[1]
        assert requested_words(pair.prompt) == pair.target_words
        assert abs(pair.target_words - words) <= 50
        assert "words long" not in without_length_request(pair.prompt)
        assert pair.reasoning.count("Scene ") >= 1
        start = prose.find(pair.story[:200], place)
        assert start >= place, "stories are the novel's own prose, in order, without overlap"
        place = start + 1


def test_held_out_stories_are_longer(planned):
    novel, book = planned
    train, test = (max(pair.target_words for pair in derive_pairs(book, novel, split)) for split in ("train", "test"))
    assert test > train


def test_fewer_per_book_are_spread_over_it(planned):
    novel, book = planned
    everything = derive_pairs(book, novel, "train")
    few = derive_pairs(book, novel, "train", PairOptions(per_book=2))
    assert [pair.uid for pair in few] == [everything[0].uid, everything[len(everything) // 2].uid]


def test_the_verb_writes_files_that_the_loader_reads(novel_path, tmp_path, capsys):
    out = tmp_path / "pairs"
    assert main(["pairs", "--books", str(novel_path), "--out", str(out), "--split", "100/0/0", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = read_prompt_stories(str(out / "train.jsonl"), stories=True, reasoning=True)
    assert len(rows) == report["splits"]["train"]["pairs"] == report["books"][0]["pairs"] > 0
    assert not (out / "test.jsonl").exists()
    first = (out / "train.jsonl").read_bytes()
    build_pairs([str(novel_path), str(novel_path)], str(out), PairOptions(shares=(100, 0, 0)))
    assert (out / "train.jsonl").read_bytes() == first, "the same novel twice adds nothing, and nothing is random"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--train-words", "4000"], "--train-words='4000'"),
        (["--train-words", "4000-1000"], "train_words"),
        (["--split", "1/2"], "split"),
        (["--model", "m"], "--model='m'"),
        (["--books", "nowhere/*.txt"], "--books='nowhere/*.txt'"),
    ],
)
def test_mistakes_are_one_line(novel_path, tmp_path, capsys, flags, message):
    assert main(["pairs", "--books", str(novel_path), "--out", str(tmp_path / "p"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_novel_that_gives_nothing_is_said_to(tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("A short note.\n")
    with pytest.raises(InputError, match="no novel gave"):
        build_pairs([str(path)], str(tmp_path / "out"))
