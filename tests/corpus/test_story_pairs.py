"""A collection from file to prompt-story pairs: an anthology of five public-domain stories, refused as a novel."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from polaris_jax.cli import main
from polaris_jax.corpus import pair_notes
from polaris_jax.corpus.prompt_story import PairOptions, build_pairs
from polaris_jax.data.prompt_story import read_prompt_stories
from polaris_jax.library import read_collection, read_novel
from polaris_jax.rewards import requested_words, without_length_request
from polaris_jax.rewards.length import count_words
from polaris_jax.scaffold import OfflineAnnotator

ANTHOLOGY = Path(__file__).with_name("turns_of_fate.txt")
STORIES = {
    "THE CASK OF AMONTILLADO": ("Edgar Allan Poe", "The thousand injuries", "In pace requiescat!"),
    "DESIREE'S BABY": ("Kate Chopin", "As the day was pleasant", 'the brand of slavery."'),
    "AN OCCURRENCE AT OWL CREEK BRIDGE": ("Ambrose Bierce", "A man stood upon", "the Owl Creek bridge."),
    "THE GIFT OF THE MAGI": ("O. Henry", "One dollar and eighty-seven", "They are the magi."),
    "THE OPEN WINDOW": ("Saki", '"My aunt will be down', "was her speciality."),
}


class Model(OfflineAnnotator):
    """Stands in for a model: it writes requests of its own."""

    name = "test/model"

    def annotate(self, task, progress=None):
        asked = f"I want a tale like that of {task.context.author}. It should be 99 words long."
        return replace(super().annotate(task, progress), prompts=(asked,) * 4)


def pairs_of(out, split="train"):
    return read_prompt_stories(str(out / f"{split}.jsonl"), stories=True, reasoning=True)


def test_the_stories_are_whole_and_have_their_authors():
    stories = read_collection(read_novel(ANTHOLOGY))
    assert {story.title: (story.author, story.text[: len(STORIES[story.title][1])]) for story in stories} == {
        title: (author, opening) for title, (author, opening, _) in STORIES.items()
    }
    assert all(story.text.endswith(STORIES[story.title][2]) for story in stories)
    assert not any("[From" in story.text or "By " + story.author in story.text for story in stories)
    bridge = next(story for story in stories if "BRIDGE" in story.title)
    assert len(bridge.scenes) >= 3, "its sections I, II, III are scenes, not stories"


def test_the_verb_makes_a_pair_of_every_story(tmp_path, capsys):
    out = tmp_path / "pairs"
    assert main(["pairs", "--books", str(ANTHOLOGY), "--out", str(out), "--split", "100/0/0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["books"]
    assert (row["kind"], row["stories"], row["pairs"], row["reason"]) == ("collection", 5, 5, "")
    pairs = pairs_of(out)
    assert sorted(pair.source for pair in pairs) == sorted(f"{a}: {title}" for title, (a, _, _) in STORIES.items())
    for pair in pairs:
        assert pair.prompt.endswith(f"approximately {pair.target_words} words long.")
        assert requested_words(pair.prompt) == pair.target_words
        assert abs(pair.target_words - count_words(pair.story)) <= 50
        request = without_length_request(pair.prompt)
        assert not re.search(r"\b(?:novel|book|chapters?)\b", request)
        assert "Scene 1:" in pair.reasoning
    first = (out / "train.jsonl").read_bytes()
    build_pairs([str(ANTHOLOGY)] * 2, str(out), PairOptions(shares=(100, 0, 0)))
    assert (out / "train.jsonl").read_bytes() == first, "the same stories twice add nothing, and nothing is random"


def test_requests_are_the_annotators_own(tmp_path):
    build_pairs([str(ANTHOLOGY)], str(tmp_path), PairOptions(shares=(100, 0, 0)), Model())
    for pair in pairs_of(tmp_path):
        author = pair.source.split(":")[0]
        asked = f"I want a tale like that of {author}. {pair_notes.length_request(pair.target_words)}"
        assert pair.prompt == asked, "its own length is replaced by the story's"


def test_each_storys_author_decides_its_split_and_its_bounds(tmp_path):
    options = PairOptions(train_words=(1000, 2100), heldout_words=(1000, 12000), shares=(50, 25, 25), seed=1)
    report = build_pairs([str(ANTHOLOGY)], str(tmp_path), options)
    (row,) = report["books"]
    assert row["pairs"] + row["too_long"] == 5
    assert row["split"] == " ".join(split for split, found in report["splits"].items() if found["pairs"])
    sources = [
        {pair.source for pair in pairs_of(tmp_path, split)}
        for split, found in report["splits"].items()
        if found["pairs"]
    ]
    assert len(sources) > 1
    assert len(set().union(*sources)) == sum(map(len, sources))


def test_stories_outside_the_bounds_are_counted(tmp_path, capsys):
    command = ["pairs", "--books", str(ANTHOLOGY), "--out", str(tmp_path), "--split", "100/0/0"]
    assert main([*command, "--train-words", "2000-2200"]) == 0
    said = capsys.readouterr().out
    assert "turns_of_fate.txt: 2 of 5 stories (1 too short, 2 too long)" in said


def test_fewer_per_book_are_spread_over_it(tmp_path):
    build_pairs([str(ANTHOLOGY)], str(tmp_path), PairOptions(shares=(100, 0, 0), per_book=2))
    assert [pair.source.split(": ")[1] for pair in pairs_of(tmp_path)] == [
        "THE CASK OF AMONTILLADO",
        "AN OCCURRENCE AT OWL CREEK BRIDGE",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--heading", "("], "--heading='('"),
        (["--accept", "other.txt"], "--accept='other.txt'"),
        (["--accept", "--reject"], "--reject='turns_of_fate.txt'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, flags, message):
    assert main(["pairs", "--books", str(ANTHOLOGY), "--out", str(tmp_path / "p"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "p").exists()


def test_rejected_by_hand_gives_nothing(tmp_path, capsys):
    assert main(["pairs", "--books", str(ANTHOLOGY), "--out", str(tmp_path / "p"), "--reject"]) == 2
    assert "rejected by hand" in capsys.readouterr().err
