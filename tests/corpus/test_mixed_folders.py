"""A folder of novels of every kind: each file that can be a book is read, and every other one is reported."""

import pytest

from polaris_jax.corpus import find_books, find_novels
from polaris_jax.errors import InputError


def test_a_folder_gives_every_book_in_it(tmp_path):
    for name in ("a.txt", "b.epub", "c.md", "D.EPUB", "E.TXT", "README.md", "LICENSE.txt", "cover.jpg", "m.json"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "f.txt").mkdir()
    books = ["D.EPUB", "E.TXT", "a.txt", "b.epub", "c.md"]
    assert [path.name for path in find_books([tmp_path])] == books
    assert [address.rsplit("/", 1)[-1] for address in find_novels([tmp_path])] == books
    assert [path.name for path in find_books([tmp_path / "*.epub"])] == ["b.epub"]
    assert [path.name for path in find_books([tmp_path / "README.md"])] == ["README.md"]


def test_a_folder_without_books_says_what_would_be_one(tmp_path):
    (tmp_path / "cover.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"\.txt, \.md, \.epub"):
        find_books([tmp_path])
