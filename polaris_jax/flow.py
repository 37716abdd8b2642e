"""The joints between rooms that no room may make itself: novels → token store, checkpoint → sampler."""

import dataclasses
import glob
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polaris_jax import scaffold
from polaris_jax.data import Tokenizer, TokenStore, Trajectory, encode_transcript, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.library import Novel, read_novel, segment_record
from polaris_jax.trajectory import KINDS, ROLES, check, count_words, render, split_stages

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True)
class BuildOptions:
    """How novels become trajectories.

    Attributes:
      profile: ``mini`` (several small volumes per novel) or ``full`` (the whole novel as one book).
      window: most tokens per trajectory.
      chapters: fewest and most chapters per mini volume. chapter_words: most words per mini chapter.
      per_book: most trajectories kept per novel, evenly spread over it (0 = all).
      min_words: shorter texts are no novels.
    """

    profile: str = "mini"
    window: int = 8192
    chapters: tuple[int, int] = (2, 12)
    chapter_words: int = 800
    per_book: int = 0
    min_words: int = 2000


def find_books(patterns: Iterable[str | os.PathLike]) -> list[Path]:
    """The files behind paths, folders and glob patterns, in sorted order.

    Raises:
      InputError: a pattern that matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        text = os.path.expanduser(os.fspath(pattern))
        if os.path.isdir(text):
            text = os.path.join(glob.escape(text), "*.txt")
        matches = sorted(Path(match) for match in glob.glob(text) if os.path.isfile(match))
        if not matches:
            raise InputError("--books", str(pattern), "no such file; give a novel, a folder of .txt, or a quoted glob")
        found += [match for match in matches if match not in found]
    return found


def read_books(paths: Iterable[Path], options: BuildOptions, progress: Progress) -> list[tuple[Novel, dict]]:
    """Reads every file: ``(novel, row of the build report)``, rejected ones with their reason."""
    paths = list(paths)
    books = []
    for number, path in enumerate(paths):
        progress(f"reading {path.name}", number, len(paths))
        started = time.perf_counter()
        novel = read_novel(path, min_words=options.min_words)
        record = segment_record(novel)
        row = {name: record[name] for name in ("title", "author", "accepted", "reason", "structure", "chapter_count")}
        row |= {"path": str(path), "words": sum(chapter["words"] for chapter in record["chapters"]),
                "trajectories": 0, "seconds": time.perf_counter() - started}
        books.append((novel, row))
    progress("read", len(paths), len(paths))
    if not any(row["accepted"] for _, row in books):
        first = books[0][1]
        raise InputError("--books", first["path"], f"is no novel: {first['reason']}" if len(books) == 1 else
                         f"none of the {len(books)} files is a novel; the first: {first['reason']}")
    return books


def transcripts_of(novel: Novel, options: BuildOptions, count: Callable[[str], int]) -> list[str]:
    """The transcripts of one accepted novel, each at most ``options.window`` units long as measured by ``count``.

    Raises:
      InputError: the window is too small for the smallest plan (mini) or for the whole novel (full).
    """
    if options.profile == "mini":
        profile = scaffold.mini_profile(options.window, count, options.chapters, options.chapter_words)
    else:
        profile = dataclasses.replace(scaffold.FULL, budget=options.window, count=count)
    try:
        made = [render(book) for book in scaffold.build_books(novel, scaffold.DeterministicAnnotator(), profile)]
    except InputError as error:
        if error.field != "budget":
            raise
        raise InputError("--window", options.window, f"too small for {novel.title!r}: {error.advice}") from None
    if 0 < options.per_book < len(made):
        made = [made[i] for i in np.linspace(0, len(made) - 1, options.per_book).round().astype(int)]
    return made


def build_store(
    books: list[tuple[Novel, dict]], out: str | os.PathLike, tokenizer: Tokenizer, options: BuildOptions,
    progress: Progress, *, transcripts_dir: Path | None = None,
) -> dict:
    """Plans, renders and tokenises every accepted novel into a token store at ``out``.

    Returns:
      The build report: ``books`` (a row each), ``trajectories`` (tokens and words by role and kind), ``tokens``.

    Raises:
      InputError: no trajectory fits the window.
    """
    extra = tokenizer.bos_id is not None
    rows, trajectories, refused = [], [], None
    writer = TokenStore.create(out, tokenizer)
    for number, (novel, row) in enumerate(books):
        rows.append(row := dict(row))
        progress(f"planning {row['title'] or row['path']}", number, len(books))
        if not row["accepted"]:
            continue
        started = time.perf_counter()
        try:
            made = transcripts_of(novel, options, lambda text: len(tokenizer.encode(text)) + extra)
        except InputError as error:
            refused = error
            row |= {"accepted": False, "reason": str(error)}
            continue
        for volume, transcript in enumerate(made, 1):
            verdict = check(transcript, "strict")
            if not verdict:
                raise AssertionError(f"{row['path']}, volume {volume}: {verdict.violations[0]}")
            encoded = encode_transcript(transcript, tokenizer)
            facts = {"title": row["title"], "author": row["author"], "volume": volume, "split": "train"}
            writer.append(encoded, facts)
            entry = facts | describe(transcript, encoded) | {"valid": True}
            if transcripts_dir is not None:
                entry["file"] = f"{transcripts_dir.name}/{len(trajectories) + 1:04d}.txt"
                transcripts_dir.mkdir(parents=True, exist_ok=True)
                (transcripts_dir.parent / entry["file"]).write_text(transcript, encoding="utf-8")
            trajectories.append(entry)
        row["trajectories"] = len(made)
        row["seconds"] += time.perf_counter() - started
    if not trajectories:
        raise refused or InputError("--books", [row["path"] for row in rows], "gave no trajectory")
    writer.commit()
    progress("built", len(books), len(books))
    return {"books": rows, "trajectories": trajectories, "tokens": sum(t["tokens"] for t in trajectories),
            "window": options.window}


def describe(transcript: str, encoded: Trajectory) -> dict:
    """Tokens and words of a trajectory, by stage role and by kind."""
    words = Counter()
    for stage in split_stages(transcript):
        words[stage.role] += count_words(stage.text)
    by_role = {role: {"tokens": int((encoded.roles == i).sum()), "words": words[role]}
               for i, role in enumerate(ROLES) if words[role]}
    by_kind = {kind: int((encoded.kinds == i).sum()) for i, kind in enumerate(KINDS)}
    return {"tokens": len(encoded), "words": sum(words.values()), "by_role": by_role, "by_kind": by_kind}


def open_sampler(checkpoint: str | os.PathLike, max_length: int):
    """A sampler over a training run's newest checkpoint or a Hugging Face folder."""
    from polaris_jax.sampling import Sampler
    from polaris_jax.training import load_weights

    config, params, folder = load_weights(checkpoint)
    return Sampler(params, config, load_tokenizer(str(folder)), max_length=max_length, prefill_chunk=64,
                   first_capacity=min(max_length, 2048))
