"""Turns the steps of the writer into ``Progress`` events, with an estimate of how much is still to be written.

The estimate counts characters, from the plan and the text so far. The plan gives the length of the prose in words.
Chapter cards and scene breakdowns are assumed to be as long as those already written. Before the plan is complete, the
number of chapters is unknown, and there is no estimate.
"""

import time
from collections.abc import Sequence

from polaris_jax.errors import InputError
from polaris_jax.sampling.book_model import BookSession
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.progress import Progress, ProgressCallback
from polaris_jax.trajectory import Stage, Step, count_words, extract_planned_chapters, split_stages
from polaris_jax.trajectory.verdict import stage_order

CHARACTERS_PER_WORD = 6.0
_TEXTS = ("first_chapter_text", "chapter_text")
# Before there is anything to measure: characters of planning per character of a chapter's prose (specification, fact
# 5: 0.65 over all levels, about half of it in what follows the plan).
_PLANNING_SHARE = 0.3


def planned_words(stages: Sequence[Stage]) -> list[int]:
    """Rounded word counts of the planned chapters, in order; empty while the plan is not finished.

    A first-chapter book plans its only chapter in its chapter plan.
    """
    for stage in stages:
        if stage.role == "book_plan":
            try:
                return [chapter["chapter_word_count"] for chapter in extract_planned_chapters(stage.text)]
            except InputError:  # a 24B plan names no chapters
                continue
        if stage.role == "first_chapter_plan":
            return [int(stage.text.partition("**Word Count:** ")[2].partition("\n")[0])]
    return []


def remaining_characters(stages: Sequence[Stage], family: str) -> float | None:
    """Characters that the stages after ``stages`` (all finished) will have, or None before the plan is complete."""
    words = planned_words(stages)
    if not words:
        return None
    order = stage_order(family, len(words))
    texts = [stage for stage in stages if stage.role in _TEXTS]
    per_word = CHARACTERS_PER_WORD
    if texts:
        per_word = sum(len(stage.text) for stage in texts) / max(sum(words[: len(texts)]), 1)
    prose = [count * per_word for count in words]
    average = sum(prose) / len(prose)
    breakdowns = [len(stage.text) for stage in stages if stage.role.endswith("scene_breakdown")]
    if not breakdowns:
        breakdowns = [len(stage.text) for stage in stages if stage.role == "first_chapter_plan"]
    breakdown = sum(breakdowns) / len(breakdowns) if breakdowns else _PLANNING_SHARE * average
    chapter, total = len(texts), 0.0
    for role in order[len(stages) :]:
        if role in _TEXTS:
            total += prose[chapter]
            chapter += 1
        elif role == "full_book_chapters_plan":
            total += breakdown / 2 * (len(words) - 1)
        else:
            total += breakdown
    return total


def written_words(stages: Sequence[Stage]) -> int:
    """Words of prose in the finished chapters, without headings and fences."""
    prose = (stage.text.partition("\n```\n")[2].removesuffix("```") for stage in stages if stage.role in _TEXTS)
    return sum(map(count_words, prose))


class ProgressReporter:
    """Follows one run and calls ``callback`` with its events.

    Rates and the time left count only this run, not the text of earlier runs.
    """

    def __init__(self, session: BookSession, family: str, callback: ProgressCallback):
        self._session, self._family, self._callback = session, family, callback
        self._step: Step | None = None
        self._counts = Counts()
        self._made = 0
        self._at_start = len(session.text)
        self._started = time.monotonic()
        self._chapter = self._chapters = self._words = 0
        self._remaining: float | None = None
        self._fresh, self._attempt = "", 0

    def begin(self, step: Step, finished: Sequence[Stage], counts: Counts) -> None:
        """Reports that a step begins after the ``finished`` stages; ``counts`` will hold its tokens."""
        self._step, self._counts = step, counts
        self._fresh, self._attempt = "", 0
        self._words, self._chapters = written_words(finished), len(planned_words(finished))
        texts = sum(stage.role.endswith("_text") for stage in finished)
        self._chapter = min(texts + 1, self._chapters)
        self._remaining = remaining_characters(finished, self._family)
        if self._remaining is not None:  # minus the text that its stage has already
            self._remaining -= step.start - finished[-1].end
        self._emit()

    def text(self, fresh: str, taken_back: int, attempt: int) -> None:
        """Reports text of the step; a ``text_diff.TextCallback``."""
        self._attempt = attempt
        self._fresh = self._fresh[: len(self._fresh) - taken_back] + fresh
        self._emit(text=fresh, taken_back=taken_back)

    def note(self, line: str) -> None:
        """Reports something unusual."""
        self._emit(note=line)

    def end(self) -> None:
        """Reports that the step is committed."""
        self._made += self._counts.sampled + self._counts.forced
        self._counts = Counts()

    def finished(self, transcript: str) -> None:
        """Reports that the run ends with ``transcript``."""
        self._fresh = ""
        stages = [stage for stage in split_stages(transcript, partial=True) if stage.complete]
        self._words, self._chapters = written_words(stages), len(planned_words(stages))
        self._chapter = sum(stage.role.endswith("_text") for stage in stages)
        self._emit(done=True)

    def _emit(self, *, text: str = "", taken_back: int = 0, note: str = "", done: bool = False) -> None:
        step, elapsed = self._step, max(time.monotonic() - self._started, 1e-9)
        prose = step is not None and step.target_words > 0
        made = self._made + self._counts.sampled + self._counts.forced
        characters = len(self._session.text) - self._at_start + len(self._fresh)
        left = None
        if self._remaining is not None and characters > 0:
            left = max(self._remaining - len(self._fresh), 0.0) * elapsed / characters
        self._callback(
            Progress(
                stage=step.role if step else "",
                step=step.name if step else "",
                chapter=self._chapter,
                chapters=self._chapters,
                words=self._words + (count_words(self._fresh) if prose else 0),
                tokens=self._session.length,
                tokens_per_second=made / elapsed,
                seconds_left=left,
                attempt=self._attempt,
                text=text,
                taken_back=taken_back,
                note=note,
                done=done,
            )
        )
