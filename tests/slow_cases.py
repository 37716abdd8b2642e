"""Parameters of tests of which some run by default and the others only with the slow tests."""

import pytest


def others_slow(cases, kept):
    """``cases`` (tuples) as parameters: those for which ``kept(*case)`` is true run by default."""
    return [case if kept(*case) else pytest.param(*case, marks=pytest.mark.slow) for case in cases]
