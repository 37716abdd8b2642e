"""The errors a person sees: a single clear line each.

``InputError`` is raised wherever the *caller* made a mistake (a file, a flag, a config field): exit code 2.
``RunError`` where a run cannot go on although nobody made a mistake at the start (a disk that filled up, a loss that
is no number any more): exit code 1. Every other exception is a defect of ours and keeps its traceback.
"""

import errno

RESUMABLE = 75  # exit code (EX_TEMPFAIL of sysexits.h) of a stopped run; launchers take it as "start me again"

# Errors of a disk that no flag could change: it is full, over quota or broken.
DISK_ERRORS = frozenset({errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})
MAKE_ROOM = "make room and run the same command again"


class InputError(ValueError):
    """A caller's mistake: names the field, the offending value and what to do about it.

    Args:
      field: what was wrong, in the caller's words (``--books``, ``config.data.window``, a file name).
      value: the offending value, shown with ``repr`` and shortened to 200 characters.
      advice: what to do instead, one sentence without line breaks.
    """

    def __init__(self, field: str, value: object, advice: str):
        shown = repr(value)
        if len(shown) > 200:
            shown = shown[:197] + "..."
        self.field, self.value, self.advice = field, value, advice
        super().__init__(f"{field}={shown}: {advice}".replace("\n", " "))


class RunError(RuntimeError):
    """A run that cannot go on: what happened, when, and what to do; one line."""
