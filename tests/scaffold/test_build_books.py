"""Whatever novel comes in, the books that come out are valid, faithful and the same every time."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from polaris_jax.errors import InputError
from polaris_jax.library import read_novel
from polaris_jax.library.novel import Novel, NovelChapter
from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books, mini_profile
from polaris_jax.trajectory import check, count_words, render


def prose_grams(book, n=8):
    tokens = re.findall(r"[^\W_]+", " ".join(chapter.text for chapter in book.chapters).lower())
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}


def bullets(book):
    """Every bullet of the plan."""
    yield from (*book.world_rules, *book.writing_style)
    for arc in book.arcs:
        yield from (*arc.short, *arc.medium, *arc.long)
    for group in (*book.character_archetypes, *book.main_characters, *book.side_characters):
        yield from group.bullets
    for chapter in book.chapters:
        yield from chapter.summary
        for scene in chapter.scenes:
            yield from scene.summary


def notes(book):
    """Every line of the plan that an annotator wrote about the prose."""
    yield from (book.prompt, book.highlight, book.archetype, *bullets(book))


def assert_sound(book):
    verdict = check(render(book), "corpus")
    assert verdict.ok, verdict.violations[:3]
    grams = prose_grams(book)
    for line in notes(book):
        tokens = re.findall(r"[^\W_]+", line.lower())
        copied = [tokens[i : i + 8] for i in range(len(tokens) - 7) if tuple(tokens[i : i + 8]) in grams]
        assert not copied, (line, copied[0])
    for chapter in book.chapters:
        assert "".join(scene.text for scene in chapter.scenes) == chapter.text


def novel_of(*texts, title="A Test", names=None, author="Nobody"):
    chapters = tuple(
        NovelChapter(names[i] if names else f"Chapter {i + 1}", "chapter", None, i + 1, text, (text,))
        for i, text in enumerate(texts)
    )
    return Novel("test.txt", title, author, "en", "utf-8", True, "", "chapters", chapters)


@pytest.mark.parametrize("tokens", [2048, 4096, 8192])
def test_every_volume_fits_its_window_and_reuses_no_prose(hallin, tokens):
    books = build_books(hallin, OfflineAnnotator(), mini_profile(4 * tokens))
    seen = set()
    for book in books:
        assert_sound(book)
        assert len(render(book)) <= 4 * tokens
        for chapter in book.chapters:
            assert count_words(chapter.text) <= 800
            assert chapter.text not in seen
            seen.add(chapter.text)
    assert len(seen) == len(hallin.chapters)


def test_a_small_window_still_leaves_real_prose(hallin):
    books = build_books(hallin, OfflineAnnotator(), mini_profile(4 * 2048))
    words = [count_words(chapter.text) for book in books for chapter in book.chapters]
    assert min(words) >= 60
    assert sum(words) / len(words) >= 120


def test_the_full_profile_keeps_every_word_and_every_chapter(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    assert_sound(book)
    assert [chapter.text for chapter in book.chapters] == [chapter.text for chapter in hallin.chapters]
    assert book.title == "The Hallin Inventory"


def test_the_cards_name_the_people_of_the_story(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    names = {group.name for group in (*book.main_characters, *book.side_characters)}
    assert {"Agnes Torrey", "Tom Ludd", "Martha Ellwood", "Mr Pruett"} <= names
    text = "\n".join(chapter.text for chapter in book.chapters)
    assert all(name in text for name in names)
    first = " ".join(book.chapters[0].summary)
    assert "Agnes" in first


def test_capitalised_names_on_a_scene_card_stand_in_the_scene_or_before(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    earlier = ""
    for chapter in book.chapters:
        for scene in chapter.scenes:
            earlier += scene.text
            for line in scene.summary:
                for name in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", line):
                    assert name in earlier, (name, line)


def test_archetypes_carry_no_proper_names(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    said = " ".join(group.name + " " + " ".join(group.bullets) for group in book.character_archetypes)
    for group in (*book.main_characters, *book.side_characters):
        assert not set(group.name.replace("Mr", "").split()) & set(re.findall(r"\w+", said)) - {"The"}


def test_two_runs_give_the_same_books_and_the_prompt_index_only_changes_the_prompt(hallin):
    start = replace(hallin, chapters=hallin.chapters[:3])
    first, again, other = (
        build_books(start, OfflineAnnotator(), mini_profile(None), prompt_index=index) for index in (0, 0, 1)
    )
    assert [render(book) for book in first] == [render(book) for book in again]
    assert first[0].highlight == other[0].highlight
    assert any(a.prompt != b.prompt for a, b in zip(first, other, strict=False))


def test_another_process_with_other_hash_seeds_writes_the_same_book():
    program = (
        "from importlib.resources import files; from dataclasses import replace; import hashlib\n"
        "from polaris_jax.library import read_novel\n"
        "from polaris_jax.scaffold import FULL, OfflineAnnotator, build_books\n"
        "from polaris_jax.trajectory import render\n"
        "novel = read_novel(str(files('polaris_jax.library') / 'books' / 'the_hallin_inventory.txt'))\n"
        "print(hashlib.sha256(render(build_books(novel, OfflineAnnotator(), FULL)[0]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_progress_reaches_the_last_chapter(hallin):
    heard = []
    build_books(hallin, OfflineAnnotator(), FULL, progress=lambda done, total, name: heard.append((done, total)))
    assert heard[-1] == (10, 10)


def test_provenance_says_what_was_cut(hallin):
    book = build_books(hallin, OfflineAnnotator(), mini_profile(4 * 2048))[0]
    assert book.provenance["author"] == hallin.author
    assert book.provenance["volume"] == 1
    assert all(book.provenance["cut"])


SHORT = "She came home at last and put the lamp in the window, and nobody asked her where she had been all night."
WEIRD = {
    "one short paragraph each": novel_of(SHORT, SHORT.replace("lamp", "clock") + " He laughed."),
    "one chapter only": novel_of("\n\n".join(f"{SHORT} It was day {i}." for i in range(40))),
    "no dialogue, one endless sentence": novel_of(
        " and ".join(["the river went on"] * 200), " or ".join(["they waited"] * 300)
    ),
    "marks in the title": novel_of(
        SHORT * 4, SHORT * 5, title="$1,000 & 100% #1 [Draft] <|eot_id|> of Many Long Words Indeed"
    ),
    "non-Latin": novel_of(
        "Наташа вошла в комнату. Пьер молчал.\n\n" * 12,
        "Князь Андрей уехал. Наташа плакала.\n\n" * 12,
        title="Война",
        author="Толстой",
    ),
    "chinese": novel_of("她走进房间。他没有说话。" * 30, "天黑了。大家都睡了。" * 30, title="夜"),
    "markup in prose": novel_of(
        "## Heading\n\n```code```\n\n" + SHORT * 3, "### x\n\n<|eot_id|> " + SHORT * 3, names=["# One", "# One"]
    ),
    "carriage returns and trailing spaces": novel_of(
        f"{SHORT}  \r\n\r\n\r\n{SHORT}\t\r\n" * 3, f"{SHORT} \u2028 {SHORT}" * 3
    ),
    "only speech": novel_of(
        "“Yes,” said Ann. “No,” said Ben.\n\n" * 20, "“Why?” asked Ann. “Because,” said Ben.\n\n" * 20
    ),
    "long names": novel_of(SHORT * 4, SHORT * 4, names=["N" * 300, "word " * 60]),
}


@pytest.mark.parametrize("case", WEIRD)
@pytest.mark.parametrize("profile", [FULL, mini_profile(None), mini_profile(16_000)], ids=["full", "mini", "mini16k"])
def test_any_text_gives_a_valid_book(case, profile):
    for book in build_books(WEIRD[case], OfflineAnnotator(), profile):
        assert check(render(book), "corpus").ok, check(render(book), "corpus").violations[:3]


def test_a_chapter_longer_than_the_limit_is_split_by_number():
    long = "\n\n".join(f"{SHORT} Day {i} was over." for i in range(1000))
    (book,) = build_books(novel_of(long, SHORT * 5), OfflineAnnotator(), FULL)
    assert book.chapters[0].name == "Chapter 1 (1 of 3)"
    assert max(count_words(chapter.text) for chapter in book.chapters) <= 10_500
    assert_sound(book)


def test_a_window_too_small_for_any_book_is_one_clear_line(hallin):
    with pytest.raises(InputError, match="budget=1000"):
        build_books(replace(hallin, chapters=hallin.chapters[:2]), OfflineAnnotator(), mini_profile(1000))


def test_a_rejected_novel_is_refused_with_the_librarys_reason():
    rejected = Novel("poems.txt", "Poems", "", "en", "utf-8", False, "it is verse", "", ())
    with pytest.raises(InputError, match="it is verse"):
        build_books(rejected, OfflineAnnotator(), FULL)


def test_no_bullet_of_a_whole_plan_is_said_twice(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    assert not [line for line, count in Counter(bullets(book)).items() if count > 1]


def test_counts_stay_under_one_bullet_in_twenty_where_many_passages_make_no_note(shared):
    (book,) = build_books(read_novel(str(shared / "corpus_layouts" / "lee-albany-1884.txt")), OfflineAnnotator(), FULL)
    lines = list(bullets(book))
    assert sum(line.startswith("The passage mentions ") for line in lines) >= 5
    counts = re.compile(
        r"The (?:passage|places?|nouns) |Has [\d,]+ words|Chapters? \d|(?:First|Third) person,|Sentences are "
        r"|There is (?:almost|sparing|a good|speech|talk)|Paragraphs are |Words of |Tagged by name"
        r"|[\d.]+ semicolons|About \d|\d+ mentions in "
        r"|.{1,60}? is named \d+ time"
    )
    assert sum(bool(counts.match(line)) for line in lines) < 0.05 * len(lines)


def test_an_offline_plan_names_no_genre_role_or_judgement(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    said = "\n".join(notes(book))
    for judgement in ("story of", "a strain of", "known in the story", "grows until", "Its engine is", "belongs with"):
        assert judgement not in said
    assert not {"school and childhood", "quiet tension", "love story"} & set(book.tags)
    assert len(book.tags) == 7
