"""The writer's progress events, and two displays of them in a terminal.

``write_book`` calls ``progress(event)`` with plain ``Progress`` records; any function of one will do: the displays
below, a test's ``list.append``, a log.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Progress:
    """One progress event.

    Attributes:
      stage: role of the stage being written, e.g. ``chapter_text``.
      step: name of the step inside it.
      chapter, chapters: 1-based number of the chapter being written and how many there will be; 0 while unknown.
      words: words of prose written so far, this step included.
      tokens: tokens in the transcript so far.
      tokens_per_second: sampled and forced tokens of this run per second of this run.
      seconds_left: an estimate for the whole book; None until the plan is written.
      attempt: at the step, from 0.
      text: what this event added to the transcript.
      taken_back: characters of the step's text so far that no longer count (a loop cut, a new attempt).
      note: something out of the ordinary in one line: a refused attempt, a cut, a short chapter.
      done: True once, when the run ends.
    """

    stage: str
    step: str
    chapter: int = 0
    chapters: int = 0
    words: int = 0
    tokens: int = 0
    tokens_per_second: float = 0.0
    seconds_left: float | None = None
    attempt: int = 0
    text: str = ""
    taken_back: int = 0
    note: str = ""
    done: bool = False


ProgressCallback = Callable[[Progress], None]


def ignore_progress(event: Progress) -> None:
    """Does nothing with an event."""


class LiveProgress:
    """A live block in the terminal: where the writer is, how fast, and the last lines it wrote.

    Use as a context manager; the instance itself is the callback. Without a terminal it prints one line per step.

    Args:
      console: where to draw; default standard error, so that standard output stays clean.
      lines: how many of the last written lines to show.
    """

    def __init__(self, console: Console | None = None, lines: int = 8):
        self.console = console or Console(stderr=True)
        self._lines = lines
        self._tail = ""
        self._last_step: tuple[str, str, int] | None = None
        self._started = time.monotonic()
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "LiveProgress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: Progress) -> None:
        kept = self._tail[: -event.taken_back] if event.taken_back else self._tail
        self._tail = (kept + event.text)[-4000:]
        if event.note:
            self.console.print(f"{event.step}: {event.note}", style="yellow", highlight=False, markup=False)
        if self.console.is_terminal:
            self._live.update(self._block(event))
        elif event.done or (event.stage, event.step, event.attempt) != self._last_step:
            self._last_step = (event.stage, event.step, event.attempt)
            self.console.print(headline(event), highlight=False, markup=False, soft_wrap=True)

    def _block(self, event: Progress) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_row(Text(headline(event), style="bold"), f"{time.monotonic() - self._started:.0f} s")
        return Group(table, Text("\n".join(self._tail.splitlines()[-self._lines :]), style="dim"))


class StreamProgress:
    """The whole text as it is written, with a line at the head of each stage; for reading along or a pipe.

    Text that is taken back cannot be unprinted; a line says so.
    """

    def __init__(self, out: TextIO | None = None):
        self._out = out or sys.stdout
        self._stage: tuple[str, int] | None = None

    def __enter__(self) -> "StreamProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self._out.flush()

    def __call__(self, event: Progress) -> None:
        if event.done or (event.stage, event.chapter) != self._stage:
            self._stage = (event.stage, event.chapter)
            self._out.write(f"\n──── {headline(event)} ────\n")
        if event.note:
            self._out.write(f"\n[{event.note}]\n")
        if event.taken_back:
            self._out.write(f"\n[the last {event.taken_back} characters are taken back]\n")
        self._out.write(event.text)
        self._out.flush()


def headline(event: Progress) -> str:
    """The event in one line."""
    parts = ["finished" if event.done else f"{event.stage}: {event.step}" if event.step else event.stage]
    if event.chapters:
        parts.append(f"chapter {event.chapter}/{event.chapters}")
    if event.words:
        parts.append(f"{event.words} words")
    parts.append(f"{event.tokens} tokens, {event.tokens_per_second:.1f}/s")
    if event.seconds_left is not None and not event.done:
        parts.append(f"about {duration(event.seconds_left)} left")
    if event.attempt:
        parts.append(f"attempt {event.attempt + 1}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
