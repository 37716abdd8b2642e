"""What the writer says while it works, and a terminal display of it.

``write_book`` calls ``progress(event)`` with plain ``Progress`` records; anything that takes one can listen: the rich
display below, a test's ``list.append``, a log.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Progress:
    """One moment of writing.

    Attributes:
      stage: role of the stage in work, e.g. ``chapter_text``.
      step: name of the step inside it.
      chapter, chapters: 1-based number of the chapter in work and how many there will be; 0 while unknown.
      words: whitespace-separated words of prose written so far, this step included.
      tokens: tokens in the transcript so far.
      tokens_per_second: sampled and forced tokens of this run per second of this run.
      attempt: 0 for the first try of the step.
      text: what this event added to the transcript.
      done: True once, when the book is finished.
    """

    stage: str
    step: str
    chapter: int = 0
    chapters: int = 0
    words: int = 0
    tokens: int = 0
    tokens_per_second: float = 0.0
    attempt: int = 0
    text: str = ""
    done: bool = False


Listener = Callable[[Progress], None]


def silent(event: Progress) -> None:
    """Listens and says nothing."""


class LiveProgress:
    """A live block in the terminal: where the writer is, how fast, and the last lines it wrote.

    Use as a context manager; the instance itself is the listener. Off a terminal it prints one line per step.

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

    def __exit__(self, *_) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: Progress) -> None:
        self._tail = (self._tail + event.text)[-4000:]
        if self.console.is_terminal:
            self._live.update(self._block(event))
        elif event.done or (event.stage, event.step, event.attempt) != self._last_step:
            self._last_step = (event.stage, event.step, event.attempt)
            self.console.print(headline(event), highlight=False, markup=False)

    def _block(self, event: Progress) -> Group:
        table = Table.grid(padding=(0, 2))
        table.add_row(Text(headline(event), style="bold"), f"{time.monotonic() - self._started:.0f} s")
        return Group(table, Text("\n".join(self._tail.splitlines()[-self._lines :]), style="dim"))


def headline(event: Progress) -> str:
    """The event in one line."""
    parts = ["finished" if event.done else f"{event.stage}: {event.step}" if event.step else event.stage]
    if event.chapters:
        parts.append(f"chapter {event.chapter}/{event.chapters}")
    if event.words:
        parts.append(f"{event.words} words")
    parts.append(f"{event.tokens} tokens, {event.tokens_per_second:.1f}/s")
    if event.attempt:
        parts.append(f"attempt {event.attempt + 1}")
    return " · ".join(parts)
