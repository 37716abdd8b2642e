"""The best consistent sequence of numbered headings, found by dynamic programming.

A greedy search loses everything after the first missing number. Here every candidate may follow every earlier one. A
step scores more the better the numbers continue, and the sequence with the highest total is taken.
"""

from dataclasses import dataclass

_NEXT = 1.0  # the number continues, or starts at one under a new part
_LOST_FIRST = 0.4  # a part that begins with its second number: the first was lost
_RESTART = -0.6  # number one again, without a part heading between
_SKIP = -0.6  # numbers lost between two headings, and per number lost beyond the first
_MISPRINT = -0.9  # a number that does not fit, although the next one does
_MAX_SKIP = 4
_REACH = 60  # candidates looked back over


@dataclass(frozen=True)
class Numbered:
    """A candidate: its number, its part (any rising count), and its own score."""

    number: int
    part: int
    weight: float


def best_sequence(candidates: list[Numbered]) -> list[int]:
    """Indices of the sequence with the highest total of own scores and steps, in order; empty without candidates."""
    if not candidates:
        return []
    # State (i, 0): candidate i as printed; (i, 1): its number is a misprint for the expected one.
    total = [[_first(c) + c.weight, float("-inf")] for c in candidates]
    back: list[list[tuple[int, int] | None]] = [[None, None] for _ in candidates]
    due = [[c.number, 0] for c in candidates]
    for j, c in enumerate(candidates):
        for i in range(max(0, j - _REACH), j):
            for state in (0, 1):
                if total[i][state] == float("-inf"):
                    continue
                worth = _step(due[i][state], candidates[i].part, c)
                if worth is not None and total[i][state] + worth + c.weight > total[j][0]:
                    total[j][0], back[j][0] = total[i][state] + worth + c.weight, (i, state)
                value = total[i][state] + _MISPRINT + c.weight
                if state == 0 and c.part == candidates[i].part and value > total[j][1]:
                    total[j][1], back[j][1], due[j][1] = value, (i, state), due[i][state] + 1
    last: tuple[int, int] | None = max(((i, 0) for i in range(len(candidates))), key=lambda s: total[s[0]][0])
    path = []
    while last is not None:
        path.append(last[0])
        last = back[last[0]][last[1]]
    return path[::-1]


def _first(c: Numbered) -> float:
    """The score of opening a sequence."""
    return _NEXT if c.number == 1 else _LOST_FIRST if c.number == 2 else -_NEXT


def _step(number: int, part: int, c: Numbered) -> float | None:
    """The score of a heading after one with ``number``; None if it cannot follow."""
    if c.number == number + 1:
        return _NEXT
    fresh = c.part != part
    if c.number == 1:
        return _NEXT if fresh else _RESTART
    if fresh and c.number == 2:
        return _LOST_FIRST
    lost = c.number - number - 1
    return _SKIP * lost if 0 < lost <= _MAX_SKIP else None
