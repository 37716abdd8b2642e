"""Book-scale groups: a chapter under its plan, with the human chapter of the same plan as the reference."""

from importlib.resources import files

import pytest

from polaris_jax.corpus import BuildOptions, plan_novel
from polaris_jax.data import TokenStore, encode_transcript, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.rewards.length import count_words
from polaris_jax.rl.chapters import FENCE, chapter_tasks
from polaris_jax.rl.tasks import decode_response
from polaris_jax.scaffold import OfflineAnnotator
from polaris_jax.trajectory import parse, render

NOVEL = files("polaris_jax") / "library" / "books" / "the_hallin_inventory.txt"


@pytest.fixture(scope="module")
def material(policy, tmp_path_factory):
    tokenizer = load_tokenizer(policy)
    options = BuildOptions(window=8192, chapters=(2, 2))
    books = plan_novel(read_novel(NOVEL), OfflineAnnotator(), options, len)[:2]
    writer = TokenStore.create(tmp_path_factory.mktemp("chapters") / "store", tokenizer)
    for book in books:
        writer.append(encode_transcript(render(book), tokenizer), {"title": book.title})
    return books, writer.commit(), tokenizer


def test_every_chapter_is_a_task_and_its_human_text_the_reference(material):
    books, store, tokenizer = material
    tasks, counts = chapter_tasks(store, tokenizer)
    assert len(tasks) == sum(len(book.chapters) for book in books)
    assert not any(counts.values())
    for index, book in enumerate(books):
        transcript = render(book)
        for number, chapter in enumerate(book.chapters):
            task = next(task for task in tasks if task.uid == f"{index}/{number}")
            plan = tokenizer.decode(task.prompt)
            said = decode_response(tokenizer, task.human_reference)
            assert transcript.startswith(plan)
            assert (
                plan + tokenizer.decode(task.human_reference) == transcript[: len(plan) + len(said) + len("<|eot_id|>")]
            )
            story = task.story(said)
            assert story + FENCE == said
            assert story == parse(transcript).chapters[number].text
            assert task.target_words == count_words(story)
            assert story[:60] not in task.request  # the judge sees the request and the plan, not the answer
            assert chapter.name in task.request


def test_chapters_beyond_the_window_are_left_out_and_counted(material):
    _, store, tokenizer = material
    every, _ = chapter_tasks(store, tokenizer)
    longest = max(len(task.prompt) for task in every)
    some, counts = chapter_tasks(store, tokenizer, max_prompt=longest - 1)
    assert len(some) + counts["long_prompts"] == len(every)
    assert counts["long_prompts"] >= 1
    assert len(chapter_tasks(store, tokenizer, limit=2)[0]) == 2
    with pytest.raises(InputError, match="no chapter fits"):
        chapter_tasks(store, tokenizer, max_response=3)
