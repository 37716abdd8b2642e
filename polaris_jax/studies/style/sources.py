"""Reads stories: from novels, transcripts, generations (JSONL), or a token store."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.evals.generations import read_generations
from polaris_jax.library import read_novel
from polaris_jax.studies.style.stories import Story, without_markup
from polaris_jax.trajectory import START, Book, parse


def read_stories(source: str | os.PathLike, *, tokenizer: str | None = None, split: str = "") -> list[Story]:
    """The stories at an address.

    Args:
      source: a token store (local or gs://), a JSONL of generations, a novel (``.txt``, ``.md``, ``.epub``), a
        transcript, or a folder of any of these.
      tokenizer: folder of the store's tokenizer; only stores need one.
      split: only this split of a store (``train``, ``validation``, ``test``).

    Raises:
      InputError: the address is empty, or holds no story.
    """
    address = os.fspath(source)
    if "://" in address or (Path(address) / "manifest.json").exists():
        found = list(_store_stories(address, tokenizer, split))
    elif Path(address).is_dir():
        files = sorted(p for p in Path(address).rglob("*") if p.suffix in (".txt", ".md", ".epub", ".jsonl"))
        found = [story for file in files for story in _file_stories(file)]
    elif Path(address).is_file():
        found = list(_file_stories(Path(address)))
    else:
        raise InputError("stories", address, "no such file or folder")
    if not found:
        raise InputError("stories", address, "holds no story: give novels, transcripts, a JSONL or a token store")
    return found


def book_stories(book: Book, author: str, work: str) -> Iterator[Story]:
    """The chapters of a planned book, each with its plan."""
    for index, chapter in enumerate(book.chapters):
        if chapter.text.strip():
            yield Story(chapter.text, author, work, chapter.name, book=book, chapter=index)


def _file_stories(path: Path) -> Iterator[Story]:
    if path.suffix == ".jsonl":
        yield from _record_stories(path)
        return
    if path.suffix != ".epub":
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.startswith(START):
            yield from book_stories(parse(text), str(path), str(path))
            return
    novel = read_novel(path)
    if not novel.accepted:
        return
    author = novel.author or novel.title
    for chapter in novel.chapters:
        yield Story(chapter.text, author, novel.title, chapter.name)


def _record_stories(path: Path) -> Iterator[Story]:
    for one in read_generations(path)[0]:
        # Every generation counts as its own author: it has its own prompt and seed.
        name = f"{one.model}/{one.id}"
        author, finished = str(one.meta.get("author", name)), one.meta.get("finish", "stop") != "length"
        if one.story.startswith(START):
            yield from book_stories(parse(one.story), author, name)
        elif without_markup(one.story):
            yield Story(without_markup(one.story), author, str(one.meta.get("work", name)), name, finished)


def _store_stories(address: str, tokenizer: str | None, split: str) -> Iterator[Story]:
    # The token store imports heavy libraries, so they are imported only when a store is read.
    from polaris_jax.data import TokenStore, load_tokenizer

    if tokenizer is None:
        raise InputError("--tokenizer", None, "a token store needs the folder of its tokenizer")
    opened = load_tokenizer(tokenizer)
    store = TokenStore.open(address, opened)
    chosen = store.where(split=split) if split else range(len(store))
    for index in map(int, chosen):
        meta, tokens = store.meta(index), store.read(index).tokens.tolist()
        if opened.bos_id is not None and tokens[0] == opened.bos_id:
            tokens = tokens[1:]
        title = str(meta.get("title", f"trajectory {index}"))
        yield from book_stories(parse(opened.decode(tokens)), str(meta.get("author") or title), title)


def read_all(sources: Iterable[str], **options) -> list[Story]:
    """``read_stories`` of several addresses."""
    return [story for source in sources for story in read_stories(source, **options)]
