"""Turns what the writer does into ``Progress`` events."""

import time
from collections.abc import Sequence

from polaris_jax.sampling.forecast import planned_words, remaining_characters, written_words
from polaris_jax.sampling.generate import Counts
from polaris_jax.sampling.manuscript import Manuscript
from polaris_jax.sampling.progress import Listener, Progress
from polaris_jax.trajectory import Stage, Step, count_words, split_stages


class Reporter:
    """Follows one run and tells ``listener`` about it.

    Rates and the time that is left count this run alone, and not what an earlier run had written.
    """

    def __init__(self, manuscript: Manuscript, family: str, listener: Listener):
        self._manuscript, self._family, self._listener = manuscript, family, listener
        self._step: Step | None = None
        self._counts = Counts()
        self._made = 0
        self._at_start = len(manuscript.text)
        self._started = time.monotonic()
        self._chapter = self._chapters = self._words = 0
        self._remaining: float | None = None
        self._fresh, self._attempt = "", 0

    def begin(self, step: Step, finished: Sequence[Stage], counts: Counts) -> None:
        """A step begins after the ``finished`` stages; ``counts`` will hold its tokens."""
        self._step, self._counts = step, counts
        self._fresh, self._attempt = "", 0
        self._words, self._chapters = written_words(finished), len(planned_words(finished))
        texts = sum(stage.role.endswith("_text") for stage in finished)
        self._chapter = min(texts + 1, self._chapters)
        self._remaining = remaining_characters(finished, self._family)
        if self._remaining is not None:  # less what its stage has already
            self._remaining -= step.start - finished[-1].end
        self._tell()

    def text(self, fresh: str, taken_back: int, attempt: int) -> None:
        """Text of the step; see ``telling.Hears``."""
        self._attempt = attempt
        self._fresh = self._fresh[: len(self._fresh) - taken_back] + fresh
        self._tell(text=fresh, taken_back=taken_back)

    def note(self, line: str) -> None:
        """Something out of the ordinary."""
        self._tell(note=line)

    def end(self) -> None:
        """The step is committed."""
        self._made += self._counts.sampled + self._counts.forced
        self._counts = Counts()

    def finished(self, transcript: str) -> None:
        """The run ends with ``transcript``."""
        self._fresh = ""
        stages = [stage for stage in split_stages(transcript, partial=True) if stage.complete]
        self._words, self._chapters = written_words(stages), len(planned_words(stages))
        self._chapter = sum(stage.role.endswith("_text") for stage in stages)
        self._tell(done=True)

    def _tell(self, *, text: str = "", taken_back: int = 0, note: str = "", done: bool = False) -> None:
        step, elapsed = self._step, max(time.monotonic() - self._started, 1e-9)
        prose = step is not None and step.target_words > 0
        made = self._made + self._counts.sampled + self._counts.forced
        characters = len(self._manuscript.text) - self._at_start + len(self._fresh)
        left = None
        if self._remaining is not None and characters > 0:
            left = max(self._remaining - len(self._fresh), 0.0) * elapsed / characters
        self._listener(
            Progress(
                stage=step.role if step else "", step=step.name if step else "", chapter=self._chapter,
                chapters=self._chapters, words=self._words + (count_words(self._fresh) if prose else 0),
                tokens=self._manuscript.session.lengths[0], tokens_per_second=made / elapsed, seconds_left=left,
                attempt=self._attempt, text=text, taken_back=taken_back, note=note, done=done,
            )
        )  # fmt: skip
