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
from typing import Literal

import jax
import numpy as np
from llguidance import LLTokenizer

from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import grammar_tokenizer
from polaris_jax.sampling.editing import find_stage, stage_name
from polaris_jax.sampling.export import export_epub, export_text, readable
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.ledger import GIVEN, Ledger, hold
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.progress import Listener, silent
from polaris_jax.sampling.reporter import Reporter
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.settings import WriterSettings
from polaris_jax.sampling.step_writer import write_step
from polaris_jax.sampling.trial import WindowFull
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

End = Literal["complete", "until", "later_chapters", "window"]


@dataclass(frozen=True)
class WrittenBook:
    """A finished run.

    Attributes:
      transcript: the whole trajectory.
      verdict: ``trajectory.check`` of it in strict mode. Only hand edits can make it false, and a run that was told to
        stop before there is a book (``until``).
      end: why the run ended. ``complete``: nothing is missing; ``until`` and ``later_chapters``: it was told to stop
        here; ``window``: no further chapter has room in the window.
      totals: tokens sampled, forced, prefilled; seconds; tokens per second; retries (``Ledger.totals``).
      files: transcript, run record and, once there is a chapter, plain text and EPUB.
    """

    transcript: str
    verdict: Verdict
    end: End
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
    until: str | None = None,
    later_chapters: int | None = None,
) -> WrittenBook:
    """Writes the book that ``prompt`` asks for, or goes on with the one that ``out_dir`` holds.

    Args:
      sampler: the model; its ``max_length`` is the longest transcript.
      prompt: the user's request.
      profile: bounds of the book.
      seed: of every draw.
      out_dir: gets ``artifact.txt`` and ``run.json`` after every step, ``<Title>.txt`` and ``<Title>.epub`` at the end.
        Finished stages in ``artifact.txt`` may be edited between runs (see ``editing``); it may also be any beginning
        of a transcript that comes from elsewhere.
      settings: how steps are drawn; default ``WriterSettings()``.
      progress: listens to ``Progress`` events.
      until: a stage after which to stop (``editing.stage_name``); the next call goes on.
      later_chapters: chapters to write after the first one, at most; the plan still holds all of them.

    Raises:
      InputError: ``out_dir`` belongs to another prompt, seed, profile, model or settings, or to another process; the
        transcript in it was edited beyond recognition; or not even two chapters fit ``max_length``.
      WritingError: a step that no attempt could write. What was written before stays on disk.
    """
    if until is not None:
        stage_name(until)
    if later_chapters is not None and later_chapters < 1:
        raise InputError("later_chapters", later_chapters, "use 1 or more")
    settings = settings or WriterSettings()
    ledger = Ledger(Path(out_dir), _identity(sampler, prompt, profile, seed, settings))
    opening = open_transcript(prompt)
    with hold(ledger.folder):
        transcript = ledger.resume()
        if transcript is not None and not transcript.startswith(opening):
            raise InputError("prompt", prompt, f"is not the prompt of the book in {ledger.folder}; use a new folder")
        end = ledger.end and ledger.end["how"]
        if end != "complete":
            manuscript = Manuscript(sampler)
            _begin(manuscript, transcript or opening, profile, ledger)
            run = _Run(manuscript, profile, ledger, Reporter(manuscript, profile.family, progress), seed, settings)
            end, transcript = run.write(until, later_chapters)
        verdict = check(transcript, "strict")
        exports = ()
        if readable(transcript).chapters:
            exports = export_text(transcript, out_dir), export_epub(transcript, out_dir)
        said = {"ok": verdict.ok, "violations": [str(violation) for violation in verdict.violations]}
        ledger.finish(transcript, end, said, [path.name for path in exports])
    files = (ledger.transcript_path, ledger.run_path, *exports)
    return WrittenBook(transcript, verdict, end, ledger.totals(), files)


def _begin(manuscript: Manuscript, transcript: str, profile: Profile, ledger: Ledger) -> None:
    """Has the model read what there is, in the portions in which it was written: so the cache gets the same bits."""
    step = next_step(transcript, profile)
    kept = transcript if step is None else transcript[: step.start]  # an unfinished step is written anew
    ledger.steps = [record for record in ledger.steps if record.end <= len(kept)]
    for record in ledger.steps:
        manuscript.commit(kept[: record.end])
    start = len(manuscript.text)
    if start < len(kept):
        read = manuscript.commit(kept)
        name = GIVEN if start or kept.count(EOT) > 1 else "prompt"
        ledger.add(kept, name=name, start=start, prefilled=read)


@dataclass(frozen=True)
class _Run:
    """One call's share of the writing."""

    manuscript: Manuscript
    profile: Profile
    ledger: Ledger
    reporter: Reporter
    seed: int
    settings: WriterSettings

    def write(self, until: str | None, later_chapters: int | None) -> tuple[End, str]:
        """Writes step after step until there is a reason to end; returns it and the transcript."""
        end: End = "complete"
        vocabulary = grammar_tokenizer(self.manuscript.session.sampler.tokenizer)
        transcript = self.manuscript.text
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
                self._step(step, finished, vocabulary)
            except WindowFull:
                if "chapter_text" not in roles:
                    raise
                # A book may end after any later chapter: an unfinished one is left out.
                end, transcript = "window", transcript[: max(s.end for s in finished if s.role == "chapter_text")]
                break
            transcript = self.manuscript.text
        self.reporter.finished(transcript)
        return end, transcript

    def _step(self, step: Step, finished: list[Stage], vocabulary: LLTokenizer) -> None:
        started, counts = time.monotonic(), Counts()
        self.reporter.begin(step, finished, counts)
        accepted = write_step(
            self.manuscript, step, self.settings, seed=self.seed, vocabulary=vocabulary, counts=counts,
            budget=self._left_of_stage(step, finished), on_text=self.reporter.text, on_note=self.reporter.note,
        )  # fmt: skip
        text = step.apply(self.manuscript.text, accepted.sampled)
        counts.prefilled += self.manuscript.commit(text)
        self.reporter.end()
        self.ledger.add(
            text, name=step.name, start=step.start, seed=accepted.seed,
            attempts=accepted.attempts, temperature=accepted.temperature, top_k=accepted.top_k, reason=accepted.reason,
            sampled=counts.sampled, forced=counts.forced, prefilled=counts.prefilled,
            seconds=round(time.monotonic() - started, 3), model_logprob=round(accepted.model_logprob, 4),
            notes=accepted.notes,
        )  # fmt: skip

    def _left_of_stage(self, step: Step, finished: list[Stage]) -> int:
        """Tokens that the cap of the step's stage still allows: its steps share it (trajectory specification 5.1)."""
        begun = self.manuscript.text[finished[-1].end :]
        return max(self.profile.caps[step.role] - len(self.manuscript.encode(begun)), 0)


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
        "weights": _fingerprint(sampler.params),
    }
    return json.loads(json.dumps(identity))


def _fingerprint(params) -> str:
    """Tells one training step's weights from another's by a few numbers of every array, blocks stacked or not."""
    blocks = params["blocks"]
    stacked = not isinstance(blocks, tuple)
    middle = len(jax.tree.leaves(blocks)[0] if stacked else blocks) // 2
    digest = hashlib.sha256()
    rest = {name: part for name, part in params.items() if name not in ("blocks", "tied_head")}
    for tree, at in ((rest, ()), (blocks if stacked else blocks[middle], (middle,) * stacked)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            shape = leaf.shape[len(at) :]
            numbers = leaf[at + tuple(size // 2 for size in shape[:-1])][:64]
            digest.update(f"{jax.tree_util.keystr(path)} {shape} {leaf.dtype}".encode())
            digest.update(np.asarray(numbers.astype("float32")).tobytes())
    return digest.hexdigest()
