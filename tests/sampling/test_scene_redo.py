"""One scene is written again, and not a character of the rest changes."""

import shutil

import pytest
from sampling_models import PROMPT, TINY, small_sampler

from polaris_jax.errors import InputError
from polaris_jax.sampling import redo_scene, write_book
from polaris_jax.sampling.scene_redo import scene_paragraphs
from polaris_jax.trajectory import check
from polaris_jax.trajectory.book_transcript import read_stage
from polaris_jax.trajectory.transcript import find_stage


@pytest.mark.parametrize(
    ("lengths", "counts", "spans"),
    [
        ((10, 10, 10, 10), (100, 100), [(0, 2), (2, 4)]),
        ((10, 10, 10, 10), (50, 150), [(0, 1), (1, 4)]),
        ((30, 5, 5), (100, 100), [(0, 1), (1, 3)]),
        ((40,), (100, 100), [(0, 0), (0, 1)]),
        ((5, 5, 5), (10, 10, 10), [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_a_scene_is_the_paragraphs_in_its_share_of_the_words(lengths, counts, spans):
    paragraphs = ["word " * length for length in lengths]
    assert [scene_paragraphs(paragraphs, counts, scene) for scene in range(1, len(counts) + 1)] == spans


def test_one_scene_changes_and_nothing_else(written, model, tokenizer, tmp_path):
    source, book, _ = written
    folder = tmp_path / "book"
    shutil.copytree(source, folder)
    sampler = small_sampler(model, tokenizer)
    _, scenes = read_stage("scene_breakdown", find_stage(book.transcript, "scene_breakdown").text)
    prose = find_stage(book.transcript, "chapter_text").text.partition("```\n")[2].removesuffix("\n```")
    counts = [scene.word_count for scene in scenes]
    spans = [scene_paragraphs(prose.split("\n\n"), counts, place) for place in range(1, len(counts) + 1)]
    number = next(place for place, (first, last) in enumerate(spans, 1) if first < last)
    versions = [book.transcript]
    for _ in range(2):
        redo_scene(sampler, PROMPT, TINY, 2, number, seed=3, out_dir=folder)
        versions.append((folder / "artifact.txt").read_text())
    assert len(set(versions)) == 3
    stage = find_stage(book.transcript, "chapter_text")
    for version in versions[1:]:
        assert check(version, "strict").ok
        assert version[: stage.start] == book.transcript[: stage.start]
    again = write_book(sampler, PROMPT, TINY, seed=3, out_dir=folder)
    assert again.transcript == versions[-1]
    assert again.verdict.ok


@pytest.mark.parametrize(("chapter", "scene", "told"), [(3, 1, "not written"), (0, 1, "from 1"), (2, 9, "scenes")])
def test_a_scene_that_is_not_there_is_refused(written, model, tokenizer, tmp_path, chapter, scene, told):
    source, book, _ = written
    folder = tmp_path / "book"
    shutil.copytree(source, folder)
    with pytest.raises(InputError, match=told):
        redo_scene(small_sampler(model, tokenizer), PROMPT, TINY, chapter, scene, seed=3, out_dir=folder)
    assert (folder / "artifact.txt").read_text() == book.transcript
    with pytest.raises(InputError, match="seed"):
        redo_scene(small_sampler(model, tokenizer), PROMPT, TINY, 2, 1, seed=4, out_dir=folder)
    with pytest.raises(InputError, match="no book"):
        redo_scene(small_sampler(model, tokenizer), PROMPT, TINY, 2, 1, out_dir=tmp_path / "none")
