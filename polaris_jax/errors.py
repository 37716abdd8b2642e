"""The one error a person sees: a single clear line, exit code 2.

``InputError`` is raised wherever the *caller* made a mistake (a file, a flag, a config field). The command line
prints its one line and exits with 2; every other exception is a defect of ours and keeps its traceback.
"""


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
