"""A progress bar with bytes per second for reading or writing a checkpoint, and one log line at the end."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

logger = logging.getLogger(__name__)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows ``what`` on its way to ``total`` bytes; yields ``advance(bytes)``. The bar needs a terminal on stderr."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    begun = time.perf_counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda size: bar.advance(task, size)
    seconds = max(time.perf_counter() - begun, 1e-9)
    logger.info("%s: %.2f GB in %.1f s, %.2f GB/s", what, total / 1e9, seconds, total / 1e9 / seconds)
