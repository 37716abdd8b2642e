"""Writing a whole book: ask the trajectory what comes next, write it, keep it, until nothing is missing.

The writer has no state of its own. What to write next is a function of the transcript (``trajectory.next_step``), every
draw a function of (seed, place in the book, attempt), and both files are rewritten after every step; so a run that is
killed and started again writes the same bytes as one that is left alone.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.export import export_epub, export_text
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.ledger import Ledger
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.progress import Listener, Progress, silent
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.step_writer import WriterSettings, write_step
from polaris_jax.trajectory import (
    Profile,
    Step,
    Verdict,
    check,
    count_words,
    extract_planned_chapters,
    next_step,
    open_transcript,
    split_stages,
)

TEXT_ROLES = ("first_chapter_text", "chapter_text")


@dataclass(frozen=True)
class WrittenBook:
    """A finished run.

    Attributes:
      transcript: the whole trajectory.
      verdict: ``trajectory.check`` of it in strict mode; only hand edits can make it false.
      totals: tokens sampled, forced, prefilled; seconds; tokens per second; retries (``Ledger.totals``).
      files: transcript, run record, plain text and EPUB.
    """

    transcript: str
    verdict: Verdict
    totals: dict
    files: tuple[Path, ...]


def write_book(
    sampler: Sampler,
    prompt: str,
    profile: Profile,
    *,
    seed: int = 0,
    out_dir: str | os.PathLike,
    settings: WriterSettings | None = None,
    progress: Listener = silent,
) -> WrittenBook:
    """Writes the book that ``prompt`` asks for, or goes on with the one that ``out_dir`` holds.

    Args:
      sampler: the model; its ``max_length`` is the longest transcript.
      prompt: the user's request.
      profile: bounds of the book.
      seed: of every draw.
      out_dir: gets ``artifact.txt`` and ``run.json`` after every step, ``<Title>.txt`` and ``<Title>.epub`` at the end.
        Finished stages in ``artifact.txt`` may be edited between runs; they are taken as they stand.
      settings: how steps are drawn; default ``WriterSettings()``.
      progress: listens to ``Progress`` events.

    Raises:
      InputError: ``out_dir`` belongs to another prompt, seed, profile, model or settings; the transcript in it was
        edited beyond recognition; or the book does not fit ``max_length``.
      WritingError: a step that no attempt could write. What was written before stays on disk.
    """
    settings = settings or WriterSettings()
    ledger = Ledger(Path(out_dir), _identity(sampler, prompt, profile, seed, settings))
    manuscript = Manuscript(sampler)
    opening = open_transcript(prompt)
    transcript = ledger.resume()
    if transcript is None:
        manuscript.commit(opening)
        ledger.add(opening, name="prompt", start=0, capacity=manuscript.session.capacity, prefilled=manuscript.length)
    else:
        if not transcript.startswith(opening):
            raise InputError("prompt", prompt, f"is not the prompt of the book in {out_dir}; use a new folder")
        _read_again(manuscript, ledger, transcript)

    vocabulary = grammar_tokenizer(sampler.tokenizer)
    reporter = _Reporter(manuscript, progress)
    while (step := next_step(manuscript.text, profile)) is not None:
        if step.start < len(manuscript.text):
            # Somebody cut the transcript in the middle of a step: read again what still stands.
            kept, manuscript = manuscript.text[: step.start], Manuscript(sampler)
            _read_again(manuscript, ledger, kept)
            reporter.manuscript = manuscript
        started, counts = time.monotonic(), Counts()
        reporter.begin(step, counts)
        accepted = write_step(
            manuscript, step, settings, seed=seed, vocabulary=vocabulary, counts=counts, on_text=reporter.text
        )
        counts.prefilled += manuscript.commit(step.apply(manuscript.text, accepted.sampled))
        reporter.end()
        ledger.add(
            manuscript.text, name=step.name, start=step.start, capacity=manuscript.session.capacity, seed=accepted.seed,
            attempts=accepted.attempts, reason=accepted.reason, sampled=counts.sampled, forced=counts.forced,
            prefilled=counts.prefilled, seconds=round(time.monotonic() - started, 3),
            model_logprob=round(accepted.model_logprob, 4), notes=accepted.notes,
        )  # fmt: skip

    verdict = check(manuscript.text, "strict")
    ledger.finish({"ok": verdict.ok, "violations": [str(violation) for violation in verdict.violations]})
    exports = export_text(manuscript.text, out_dir), export_epub(manuscript.text, out_dir)
    files = (ledger.transcript_path, ledger.run_path, *exports)
    reporter.finished()
    return WrittenBook(manuscript.text, verdict, ledger.totals(), files)


def _read_again(manuscript: Manuscript, ledger: Ledger, transcript: str) -> None:
    """Reads a transcript in the portions in which it was written, so that the cache gets the same bits."""
    ledger.steps = [record for record in ledger.steps if record.end <= len(transcript)]
    for record in ledger.steps:
        manuscript.session.reserve(record.capacity)
        manuscript.commit(transcript[: record.end])
    if len(manuscript.text) < len(transcript):
        manuscript.commit(transcript)


def _identity(sampler: Sampler, prompt: str, profile: Profile, seed: int, settings: WriterSettings) -> dict:
    """What two runs must share to be the same book, as JSON values."""
    model = hashlib.sha256(repr((sampler.config, sampler.compute_dtype, sampler.cache_dtype)).encode()).hexdigest()
    identity = {
        "prompt": prompt,
        "seed": seed,
        "profile": asdict(profile),
        "settings": asdict(settings),
        "tokenizer": sampler.tokenizer.fingerprint,
        "model": model,
    }
    return json.loads(json.dumps(identity))


class _Reporter:
    """Turns what happens into ``Progress`` events."""

    def __init__(self, manuscript: Manuscript, listener: Listener):
        self.manuscript, self.listener = manuscript, listener
        self.step: Step | None = None
        self.counts = Counts()
        self.earlier = 0
        self.started = time.monotonic()
        self.chapter = self.chapters = self.words = 0
        self.fresh, self.attempt = "", 0

    def begin(self, step: Step, counts: Counts) -> None:
        self.step, self.counts = step, counts
        self.fresh, self.attempt = "", 0
        stages = [stage for stage in split_stages(self.manuscript.text[: step.start], partial=True) if stage.complete]
        texts = [stage.text for stage in stages if stage.role in TEXT_ROLES]
        self.words = sum(map(count_words, texts))
        plans = [stage.text for stage in stages if stage.role == "book_plan"]
        self.chapters = _planned(plans[0]) if plans else 0
        self.chapter = min(len(texts) + 1, self.chapters) if self.chapters else 0
        self._tell("")

    def text(self, fresh: str, attempt: int) -> None:
        if attempt != self.attempt:
            self.fresh, self.attempt = "", attempt
        self.fresh += fresh
        self._tell(fresh)

    def end(self) -> None:
        self.earlier += self.counts.sampled + self.counts.forced
        self.counts = Counts()

    def finished(self) -> None:
        self.fresh = ""
        texts = [stage.text for stage in split_stages(self.manuscript.text) if stage.role in TEXT_ROLES]
        self.words = sum(map(count_words, texts))
        self._tell("", done=True)

    def _tell(self, fresh: str, done: bool = False) -> None:
        prose = self.step is not None and self.step.target_words > 0
        made = self.earlier + self.counts.sampled + self.counts.forced
        self.listener(
            Progress(
                stage=self.step.role if self.step else "", step=self.step.name if self.step else "",
                chapter=self.chapter, chapters=self.chapters,
                words=self.words + (count_words(self.fresh) if prose else 0),
                tokens=self.manuscript.session.lengths[0],
                tokens_per_second=made / max(time.monotonic() - self.started, 1e-9),
                attempt=self.attempt, text=fresh, done=done,
            )
        )  # fmt: skip


def _planned(plan: str) -> int:
    try:
        return len(extract_planned_chapters(plan))
    except InputError:  # a 24B plan names no chapters
        return 0

