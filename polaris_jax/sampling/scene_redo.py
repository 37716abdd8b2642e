"""Writes one scene of a finished chapter again; everything before and after it stays as it is.

A chapter's prose does not mark where its scenes begin. The scene breakdown gives the planned length of each, so a scene
is assumed to be the paragraphs that lie in its share of the chapter's words.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.sampling.book_model import BookModel
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.local_model import LocalModel
from polaris_jax.sampling.progress import ProgressCallback, ignore_progress
from polaris_jax.sampling.progress_reporter import ProgressReporter
from polaris_jax.sampling.run_record import RunRecord, book_identity, lock_folder
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.step_writer import write_step
from polaris_jax.trajectory import (
    Profile,
    Stage,
    Step,
    check,
    count_words,
    phrases,
    split_stages,
    word_count_upper_bound,
)
from polaris_jax.trajectory.book_transcript import read_stage
from polaris_jax.trajectory.stages import FENCE
from polaris_jax.trajectory.transcript import find_stage

TEMPERATURE = 0.6  # prose is written at 0.2, which would give nearly the same text again
_OPEN = f"\n{FENCE}\n"


def redo_scene(
    model: Sampler | BookModel,
    prompt: str,
    profile: Profile,
    chapter: int,
    scene: int,
    *,
    seed: int = 0,
    out_dir: str | os.PathLike,
    settings: WriterSettings | None = None,
    progress: ProgressCallback = ignore_progress,
) -> None:
    """Replaces a scene of the book in ``out_dir``; the arguments must be those that the book was written with.

    ``write_book`` then exports text and EPUB again. A repeated call writes another scene.

    Args:
      chapter, scene: from 1.

    Raises:
      InputError: another book, a chapter that is not written, or a scene without a paragraph of its own.
      WritingError: no attempt could write the scene. The book is left as it was.
    """
    settings = settings or WriterSettings()
    model = LocalModel(model) if isinstance(model, Sampler) else model
    record = RunRecord(Path(out_dir), book_identity(model.identity(), prompt, profile, seed, settings))
    if not record.transcript_path.exists():
        raise InputError("--redo-scene", f"{chapter}.{scene}", f"there is no book in {record.folder}")
    with lock_folder(record.folder):
        transcript = record.resume() or ""
        stage, counts = _chapter(transcript, chapter, profile.family)
        if not 1 <= scene <= len(counts):
            raise InputError("--redo-scene", f"{chapter}.{scene}", f"chapter {chapter} has {len(counts)} scenes")
        head, _, prose = stage.text.partition(_OPEN)
        paragraphs = prose.removesuffix(f"\n{FENCE}").split("\n\n")
        first, last = scene_paragraphs(paragraphs, counts, scene)
        if first == last:
            advice = "has no paragraph of its own; the chapter is too short for its scenes"
            raise InputError("--redo-scene", f"{chapter}.{scene}", advice)
        before = "".join(f"{paragraph}\n\n" for paragraph in paragraphs[:first])
        start = stage.text_start + len(head) + len(_OPEN) + len(before)
        old = "\n\n".join(paragraphs[first:last])
        step = _step(stage.role, chapter, scene, old, start, counts[scene - 1], profile)
        session = model.begin()
        session.commit(transcript[:start])
        reporter, used = ProgressReporter(session, profile.family, progress), Counts()
        finished = [one for one in split_stages(transcript, partial=True) if one.end <= stage.start]
        reporter.begin(step, finished, used)
        accepted = write_step(
            session, step, settings, seed=seed, counts=used, on_text=reporter.text, on_note=reporter.note
        )
        new = accepted.sampled.removesuffix(f"\n{FENCE}")
        whole = transcript[:start] + new + transcript[start + len(old) :]
        if (wrong := next((one.violation for one in check(whole, "strict").stages if one.violation), None)) is not None:
            raise InputError("--redo-scene", f"{chapter}.{scene}", f"the book breaks a rule: {wrong}; correct it first")
        storage.write(record.transcript_path, whole.encode())


def scene_paragraphs(paragraphs: Sequence[str], counts: Sequence[int], scene: int) -> tuple[int, int]:
    """Which paragraphs, ``[first, last)``, lie in the share of the scene (from 1) among scenes of ``counts`` words.

    A paragraph belongs to the scene in which its middle word lies.
    """
    lengths = [count_words(paragraph) for paragraph in paragraphs]
    total, planned = sum(lengths), sum(counts)
    low, high = (sum(counts[:place]) * total / planned for place in (scene - 1, scene))
    inside, at = [], 0.0
    for index, length in enumerate(lengths):
        middle = at + length / 2
        if low <= middle < high or (scene == len(counts) and middle >= low):
            inside.append(index)
        at += length
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _chapter(transcript: str, chapter: int, family: str) -> tuple[Stage, list[int]]:
    """The text stage of a chapter, and the word counts of its scenes."""
    if chapter < 1:
        raise InputError("--redo-scene", chapter, "chapters are counted from 1")
    plan = "first_chapter_plan" if family == "full_book" else "first_chapter_scene_breakdown"
    names = ("first_chapter_text", plan)
    if chapter > 1:
        names = (f"chapter_text:{chapter - 1}", f"scene_breakdown:{chapter - 1}")
    text, breakdown = (find_stage(transcript, name) for name in names)
    if text is None or breakdown is None:
        raise InputError("--redo-scene", chapter, "this chapter is not written yet")
    _, scenes = read_stage(breakdown.role, breakdown.text, family)
    return text, [scene.word_count for scene in scenes]


def _step(role: str, chapter: int, scene: int, old: str, start: int, words: int, profile: Profile) -> Step:
    version = hashlib.sha256(old.encode()).hexdigest()[:8]  # another seed every time
    most = min(profile.caps[role], 3 * word_count_upper_bound(words))
    name, grammar = f"{role}/{chapter}/scene/{scene}/{version}", phrases.prose(profile.scripts)
    return Step(name, role, start, "", grammar, "", "", TEMPERATURE, None, most, words)
