"""Reads the compiler's memory files: how much, in which memory, and what is alive when.

Formats as libtpu 0.0.42 writes them: ``memory-usage-report`` (totals per memory space), ``buffer-assignment`` (every
value, with size and offset in the one big temporary allocation) and ``live-range`` (first and last instruction of each
value in the order of the schedule, loop bodies spelt out once).
"""

import re
from collections import defaultdict
from dataclasses import dataclass

_SPACE = re.compile(r"^Memory Space: (\S+).*\nTotal bytes: (\d+)", re.M)
_ALLOCATION = re.compile(r"^allocation \d+: size (\d+)(.*)")
_VALUE = re.compile(
    r"^ value: <\d+ (\S+?)(?:\{([\d,]*)\})?(?: \(phi\))? @\d+> \(size=(\d+),offset=(\d+)\): "
    r"(\w+)\[([\d,]*)\]"
)
_RANGE = re.compile(r"^\s+(\S+)\{([\d,]*)\}:(\d+)-(\d+)$")
LARGE = 1 << 20  # smaller values are not followed one by one


@dataclass(frozen=True)
class Buffer:
    """A value in the temporary allocation, alive from ``start`` to ``end`` of the schedule, both included."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    size: int
    offset: int
    start: int
    end: int


def memory_spaces(report: str) -> dict[str, int]:
    """Bytes by memory space: ``default`` is HBM, arguments included; ``host`` is host memory.

    The report calls host memory ``cmem`` (a memory that only TPU v4 has) where no SparseCore is in use.
    """
    spaces = {name: int(size) for name, size in _SPACE.findall(report)}
    if "cmem" in spaces:
        spaces["host"] = spaces.get("host", 0) + spaces.pop("cmem")
    return spaces


def temporaries(assignment: str, live_range: str) -> list[Buffer]:
    """The large values of the temporary HBM allocation."""
    ranges = defaultdict(list)
    for line in live_range[live_range.find("BufferLiveRange") :].splitlines():
        if match := _RANGE.match(line):
            ranges[match[1], match[2]].append((int(match[3]), int(match[4])))
    found, inside = [], False
    for line in assignment.splitlines():
        if match := _ALLOCATION.match(line):
            inside = "preallocated-temp" in match[2] and "color" not in match[2]
        elif inside and (match := _VALUE.match(line)) and int(match[3]) >= LARGE:
            dims = tuple(int(dim) for dim in match[6].split(",") if dim)
            for start, end in ranges.get((match[1], match[2] or ""), ()):
                found.append(Buffer(match[1], match[5], dims, int(match[3]), int(match[4]), start, end))
    return found


def alive(buffers: list[Buffer], moment: int) -> list[Buffer]:
    """Values alive at a moment that do not overlap: of several names for the same bytes, the largest."""
    kept, reach = [], 0
    present = [buffer for buffer in buffers if buffer.start <= moment <= buffer.end]
    for buffer in sorted(present, key=lambda b: (b.offset, -b.size)):
        if buffer.offset >= reach:
            kept.append(buffer)
            reach = buffer.offset + buffer.size
    return kept


def peak_moment(buffers: list[Buffer]) -> int:
    """The moment with the most bytes alive."""
    return max(
        {buffer.start for buffer in buffers}, key=lambda moment: sum(b.size for b in alive(buffers, moment)), default=0
    )
