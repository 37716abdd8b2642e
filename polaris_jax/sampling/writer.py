"""Writes a whole book, step by step, until ``trajectory.next_step`` says that nothing is missing.

The writer has no state of its own. What to write next is a function of the transcript (``trajectory.next_step``), every
sample a function of (seed, place in the book, attempt), and both files are rewritten after every step. So a run that is
killed and started again writes the same bytes as an uninterrupted one.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polaris_jax.errors import InputError
from polaris_jax.sampling.book_model import RESERVE, BookModel, BookSession, WindowFull
from polaris_jax.sampling.export import export_epub, export_text, readable
from polaris_jax.sampling.forbidden import ForbiddenPhrases
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.local_model import LocalModel
from polaris_jax.sampling.progress import ProgressCallback, ignore_progress
from polaris_jax.sampling.progress_reporter import ProgressReporter
from polaris_jax.sampling.run_record import GIVEN, RunRecord, book_identity, lock_folder
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.step_writer import write_step
from polaris_jax.trajectory import (
    EOT,
    Profile,
    Stage,
    Step,
    Verdict,
    check,
    next_step,
    open_transcript,
    split_stages,
)
from polaris_jax.trajectory.transcript import find_stage, stage_name

# The plans between the text of the first chapter and that of the second, and the part of their caps that they may need.
_BEFORE_NEXT_CHAPTER = ("full_book_chapters_plan", "book_characters_list", "scene_breakdown")
_LISTS = 0.5

End = Literal["complete", "until", "later_chapters", "window"]


@dataclass(frozen=True)
class WrittenBook:
    """A finished run.

    Attributes:
      transcript: the whole trajectory.
      verdict: ``trajectory.check`` of it in strict mode. It is false only after hand edits, or if the run was told to
        stop before there is a book (``until``).
      end: why the run ended. ``complete``: nothing is missing; ``until`` and ``later_chapters``: it was told to stop
        here; ``window``: the window has no room for a further chapter.
      totals: tokens sampled, forced, prefilled; seconds; tokens per second; retries (``RunRecord.totals``).
      files: transcript, run record and, once there is a chapter, plain text and EPUB.
    """

    transcript: str
    verdict: Verdict
    end: End
    totals: dict
    files: tuple[Path, ...]


def write_book(
    model: Sampler | BookModel,
    prompt: str,
    profile: Profile,
    *,
    seed: int = 0,
    out_dir: str | os.PathLike,
    settings: WriterSettings | None = None,
    progress: ProgressCallback = ignore_progress,
    until: str | None = None,
    later_chapters: int | None = None,
) -> WrittenBook:
    """Writes the book that ``prompt`` asks for, or continues the one in ``out_dir``.

    Args:
      model: a sampler, whose ``max_length`` is the longest transcript, or a model that runs elsewhere
        (``server.ServerModel``).
      prompt: the user's request.
      profile: bounds of the book.
      seed: seed of every sample.
      out_dir: gets ``artifact.txt`` and ``run.json`` after every step, ``<Title>.txt`` and ``<Title>.epub`` at the end.
        Finished stages in ``artifact.txt`` may be edited between runs (see ``editing``); it may also be any beginning
        of a transcript from elsewhere.
      settings: how steps are sampled; default ``WriterSettings()``.
      progress: called with ``Progress`` events.
      until: a stage after which to stop (``trajectory.transcript.stage_name``); the next call goes on.
      later_chapters: chapters to write after the first one, at most; the plan still holds all of them.

    Raises:
      InputError: ``out_dir`` belongs to another prompt, seed, profile, model or settings, or to another process; the
        transcript in it was edited beyond recognition; or not even two chapters, or the manuscript that is given, fit
        ``max_length``.
      WritingError: a step that no attempt could write. What was written before stays on disk.
    """
    if until is not None:
        stage_name(until)
    if later_chapters is not None and later_chapters < 1:
        raise InputError("later_chapters", later_chapters, "use 1 or more")
    settings = settings or WriterSettings()
    if phrase := ForbiddenPhrases(settings.forbidden).first(profile.outline.text):
        raise InputError("forbidden", phrase[1], "stands in the outline or the manuscript itself; remove it from one")
    model = LocalModel(model) if isinstance(model, Sampler) else model
    run_record = RunRecord(Path(out_dir), book_identity(model.identity(), prompt, profile, seed, settings))
    beginning, made_folder = open_transcript(prompt), not run_record.folder.exists()
    with lock_folder(run_record.folder):
        found = run_record.resume()
        transcript = beginning if found is None else found
        if not transcript.startswith(beginning):
            raise InputError(
                "prompt", prompt, f"is not the prompt of the book in {run_record.folder}; use a new folder"
            )
        end: End | None = run_record.end["how"] if run_record.end else None
        if end != "complete":
            session = model.begin()
            reporter = ProgressReporter(session, profile.family, progress)
            try:
                _check_manuscript(session, profile)
                _commit_existing(session, transcript, profile, run_record)
                end, transcript = _Run(session, profile, run_record, reporter, seed, settings).write(
                    until, later_chapters
                )
            except InputError:
                if found is None:
                    run_record.discard_unstarted(made_folder)
                raise
        verdict = check(transcript, "strict")
        exports: tuple[Path, ...] = ()
        if readable(transcript).chapters:
            exports = export_text(transcript, out_dir), export_epub(transcript, out_dir)
        violations = [str(violation) for violation in verdict.violations]
        summary = {"ok": verdict.ok, "violations": violations}
        run_record.finish(transcript, end, summary, [path.name for path in exports])
    files = (run_record.transcript_path, run_record.run_path, *exports)
    return WrittenBook(transcript, verdict, end, run_record.totals(), files)


def _check_manuscript(session: BookSession, profile: Profile) -> None:
    """Raises ``InputError`` about a manuscript that alone fills the window, before a plan is written for it."""
    tokens = sum(session.count(chapter.text) for chapter in profile.outline.chapters)
    if tokens >= profile.window:
        advice = f"the manuscript alone has {tokens} tokens; raise max_length, or continue from a shorter part of it"
        raise InputError("max_length", profile.window, advice)


def _commit_existing(session: BookSession, transcript: str, profile: Profile, run_record: RunRecord) -> None:
    """Commits the existing text in the steps in which it was written, so that the cache gets the same bits."""
    step = next_step(transcript, profile)
    kept = transcript if step is None else transcript[: step.start]  # an unfinished step is written again
    run_record.steps = [record for record in run_record.steps if record.end <= len(kept)]
    for record in run_record.steps:
        session.commit(kept[: record.end])
    start = len(session.text)
    if start < len(kept):
        tokens_read = session.commit(kept)
        name = GIVEN if start or kept.count(EOT) > 1 else "prompt"
        run_record.add(kept, name=name, start=start, prefilled=tokens_read)


@dataclass(frozen=True)
class _Run:
    """One call of ``write_book``."""

    session: BookSession
    profile: Profile
    run_record: RunRecord
    reporter: ProgressReporter
    seed: int
    settings: WriterSettings

    def write(self, until: str | None, later_chapters: int | None) -> tuple[End, str]:
        """Writes step after step; returns why it ended, and the transcript."""
        end: End = "complete"
        transcript = self.session.text
        while (step := next_step(transcript, self.profile)) is not None:
            finished = [stage for stage in split_stages(transcript, partial=True) if stage.complete]
            roles = [stage.role for stage in finished]
            if until and find_stage(transcript, until):
                end = "until"
                break
            if later_chapters is not None and roles.count("chapter_text") >= later_chapters:
                end = "later_chapters"
                break
            try:
                self._step(step, finished)
            except WindowFull:
                if "chapter_text" not in roles:
                    raise
                # A book may end after any later chapter; an unfinished one is left out.
                end, transcript = "window", transcript[: max(s.end for s in finished if s.role == "chapter_text")]
                break
            transcript = self.session.text
        self.reporter.finished(transcript)
        return end, transcript

    def _step(self, step: Step, finished: list[Stage]) -> None:
        started, counts = time.monotonic(), Counts()
        self.reporter.begin(step, finished, counts)
        accepted = write_step(
            self.session,
            step,
            self.settings,
            seed=self.seed,
            counts=counts,
            budget=self._budget(step, finished),
            on_text=self.reporter.text,
            on_note=self.reporter.note,
        )
        text = step.apply(self.session.text, accepted.sampled)
        counts.prefilled += self.session.commit(text)
        self.reporter.end()
        self.run_record.add(
            text,
            name=step.name,
            start=step.start,
            seed=accepted.seed,
            attempts=accepted.attempts,
            temperature=accepted.temperature,
            top_k=accepted.top_k,
            reason=accepted.reason,
            sampled=counts.sampled,
            forced=counts.forced,
            prefilled=counts.prefilled,
            seconds=round(time.monotonic() - started, 3),
            model_logprob=None if accepted.model_logprob is None else round(accepted.model_logprob, 4),
            notes=accepted.notes,
        )

    def _budget(self, step: Step, finished: list[Stage]) -> int:
        """Most tokens of a step. The text of the first chapter leaves the next one and its plans their part."""
        cap = self._remaining_cap(step, finished)
        if step.role != "first_chapter_text" or self.profile.family != "full_book":
            return cap
        caps = self.profile.caps
        later = _LISTS * sum(caps[role] for role in _BEFORE_NEXT_CHAPTER) + caps["chapter_text"]
        room = self.session.window - self.session.count(self.session.text) - RESERVE
        return min(cap, max(int(room * cap / (cap + later)), step.target_words))

    def _remaining_cap(self, step: Step, finished: list[Stage]) -> int:
        """Tokens left of the cap that the steps of a stage share (trajectory specification 5.1)."""
        written = self.session.text[finished[-1].end :]
        return max(self.profile.caps[step.role] - self.session.count(written), 0)
