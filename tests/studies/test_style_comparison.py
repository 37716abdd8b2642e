"""The study as a whole separates different prose, finds no difference within one kind, and writes its documents."""

import json

import pytest

from polaris_jax import cli
from polaris_jax.llm import ClientSpec, open_client
from polaris_jax.studies.style import Story, compare_styles
from polaris_jax.studies.style.burrows_delta import BurrowsDelta, samples
from polaris_jax.studies.style.classifier import accuracy
from polaris_jax.studies.style.groups import StoryGroup
from polaris_jax.studies.style.judge_ratings import SCALES, rate_stories
from polaris_jax.studies.style.overused import overused


@pytest.fixture(scope="module")
def study(novel_stories, assistant_stories):
    return compare_styles(novel_stories, {"assistant": assistant_stories})


def row(study, name):
    return next(row for row in study["rows"] if row["measure"] == name)


@pytest.mark.parametrize("name", ["stock phrases", "closing morals", "over-used n-grams"])
def test_assistant_prose_has_more_of_what_it_is_known_for(study, name):
    found = row(study, name)["groups"]["assistant"]
    assert found["separates"]
    assert found["low"] > 0.5


def test_its_phrases_are_named(study):
    named = [one["phrase"] for one in study["overused"]["assistant"]]
    assert any("testament" in phrase or "sense of" in phrase or "reminder" in phrase for phrase in named)


def test_a_classifier_tells_it_apart_even_from_function_words_alone(study):
    assert all(one["value"] > 0.9 for one in study["classifier"])


def test_halves_of_one_book_show_nothing(novel_stories):
    halves = [[Story(s.text, f"{s.author} {side}", s.work, s.name) for s in novel_stories[side::2]] for side in (0, 1)]
    found = compare_styles(halves[0], {"half": halves[1]})
    assert [r["measure"] for r in found["rows"] if r["groups"]["half"]["separates"]] == []
    assert all(one["low"] < 0.65 for one in found["classifier"])


def test_the_nearer_group_has_a_positive_shift(novel_stories, assistant_stories):
    human, other = novel_stories[::2], novel_stories[1::2]
    found = compare_styles(human, {"before": assistant_stories, "after": other})
    moved = row(found, "stock phrases")["shift"]
    assert moved["low"] > 0


def test_delta_of_a_stranger_exceeds_that_of_the_authors(novel_stories, assistant_stories):
    human, machine = StoryGroup.of("human", novel_stories), StoryGroup.of("machine", assistant_stories)
    # Chapters count as authors here; pairs of them are joined to samples of some length.
    texts = samples(human.every, pooled=False, size=600)
    delta = BurrowsDelta(texts)
    own = delta.deltas(texts).values
    assert delta.deltas(samples(machine.every, pooled=True, size=600)).values.min() > own.max()


def test_equal_groups_over_use_nothing(novel_stories):
    passages = StoryGroup.of("human", novel_stories).passages
    assert overused(passages, passages) == []


def test_folds_keep_an_author_together(novel_stories, assistant_stories):
    """All passages of an author have a mark of his; a classifier that saw him in training would be perfect."""
    marked = [
        Story(s.text + f" zq{i % 2}. " * 3, f"author {i}", s.work, s.name) for i, s in enumerate(novel_stories * 2)
    ]
    a, b = (StoryGroup.of("x", marked[side::2]).passages for side in (0, 1))
    same = accuracy(
        a,
        b,
        "form",
        groups_a=["one", "two"] * (len(a) // 2) + ["one"] * (len(a) % 2),
        groups_b=["one", "two"] * (len(b) // 2) + ["two"] * (len(b) % 2),
    )
    assert same.folds == 2
    assert same.value < 0.75


def test_a_judge_rates_every_story_on_every_scale(model_server, novel_stories, tmp_path):
    short = [Story(" ".join(s.text.split()[:120]), s.author, s.work, s.name) for s in novel_stories[:2]]
    with open_client(ClientSpec("openai", "smollm2", f"{model_server}/v1", timeout=300)) as judge:
        found = rate_stories(judge, short, draws=2)
    assert [one.story for one in found] == [s.name for s in short]
    assert all(one.draws == 2 and set(one.ratings) == set(SCALES) for one in found)
    assert all(1 <= rating <= 5 for one in found for rating in one.ratings.values())
    with open_client(ClientSpec("replay", "openai/nobody", cache=str(tmp_path / "empty"))) as nobody:
        assert [one.draws for one in rate_stories(nobody, short)] == [0, 0]


def test_the_command_writes_tables_page_and_raw_values(tmp_path, assistant_file, novel_stories, capsys):
    human = tmp_path / "human.jsonl"
    human.write_text(
        "".join(json.dumps({"id": s.name, "story": s.text, "author": s.author}) + "\n" for s in novel_stories)
    )
    out = tmp_path / "study"
    assert (
        cli.main(
            [
                "evaluate",
                "style",
                f"--human={human}",
                f"--a=before={assistant_file}",
                f"--b=after={human}",
                f"--out={out}",
            ]
        )
        == 0
    )
    tables = (out / "tables.md").read_text()
    assert "stock phrases" in tables
    assert "shift before → after" in tables
    assert r"\begin{tabular}" in (out / "tables.tex").read_text()
    assert len((out / "measures.jsonl").read_text().splitlines()) >= 8
    assert json.loads((out / "evaluation.json").read_text())["title"] == "Literary-shift study"
    assert list(out.glob("*.html"))


def test_a_missing_file_is_one_line_and_leaves_nothing(tmp_path, capsys):
    assert cli.main(["evaluate", "style", "--human=nowhere", "--a=nowhere", f"--out={tmp_path / 'x'}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()
