"""The scenes of a chapter add up to it exactly, and keep the limits of the plan's grammar."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_jax.library import read_novel
from polaris_jax.library.scenes import MAX_SCENES, MAX_WORDS, MIN_WORDS, split_scenes
from tests.library.conftest import book, sentences


def paragraphs(count, words, seed=0):
    rng = random.Random(seed)
    return [" ".join(sentences(words // 15 + 1, rng).split()[:words]) + "." for _ in range(count)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), min_size=1, max_size=30))
def test_scenes_give_back_the_chapter(spec):
    texts = [paragraphs(1, words, seed=i)[0] for i, (words, _) in enumerate(spec)]
    scenes = split_scenes(texts, [opens for _, opens in spec])
    assert "".join(scenes) == "\n\n".join(texts)
    assert 1 <= len(scenes) <= MAX_SCENES
    assert len(scenes) == 1 or all(len(scene.split()) >= MIN_WORDS for scene in scenes)


def test_long_stretches_are_cut():
    scenes = split_scenes(paragraphs(60, 100), [False] * 60)
    assert all(len(scene.split()) <= MAX_WORDS for scene in scenes)
    assert len(scenes) > 1


def test_a_paragraph_longer_than_a_scene_is_cut_at_a_sentence():
    text = sentences(600, random.Random(1))
    scenes = split_scenes([text], [False])
    assert "".join(scenes) == text
    assert len(scenes) > 1
    assert all(scene.rstrip().endswith(".") for scene in scenes)


def test_cuts_fall_where_the_vocabulary_changes():
    garden = "The gardener planted crimson flowers beneath orchard branches while blossom petals drifted downward."
    harbour = (
        "Sailors hoisted canvas aboard the schooner as harbour lanterns flickered against timbered quayside walls."
    )
    texts = [" ".join([garden] * 8)] * 9 + [" ".join([harbour] * 8)] * 9
    scenes = split_scenes(texts, [False] * 18)
    assert not any("orchard" in scene and "schooner" in scene for scene in scenes)


def test_empty_chapter():
    assert split_scenes([], []) == ()


@pytest.mark.parametrize("mark", ["* * *", "***", "-----", "#", "• • •", "⁂"])
def test_explicit_breaks_open_scenes(mark, write):
    text = book([f"CHAPTER {n}" for n in range(1, 4)], paragraphs=12)
    blocks = text.split("\n\n")
    middle = next(i for i, block in enumerate(blocks) if "CHAPTER 1" in block) + 6
    novel = read_novel(write("\n\n".join([*blocks[:middle], mark, *blocks[middle:]])))
    after = " ".join(blocks[middle].split())
    assert any(scene.startswith(after[:40]) for scene in novel.chapters[0].scenes)
    assert "".join(novel.chapters[0].scenes) == novel.chapters[0].text
    assert len(novel.chapters) == 3


def test_an_extra_blank_line_is_a_break(write):
    text = book([f"CHAPTER {n}" for n in range(1, 4)], paragraphs=12)
    blocks = text.split("\n\n")
    middle = next(i for i, block in enumerate(blocks) if "CHAPTER 1" in block) + 6
    blocks[middle] = "\n" + blocks[middle]
    novel = read_novel(write("\n\n".join(blocks)))
    after = " ".join(blocks[middle].split())
    assert any(scene.startswith(after[:40]) for scene in novel.chapters[0].scenes)
