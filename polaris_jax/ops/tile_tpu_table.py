"""Which kernels a TPU takes, and in which blocks: measured by ``benchmarks/kernel_schedule.py``, kept as a table."""

from dataclasses import dataclass
from typing import NamedTuple


class BlockSizes(NamedTuple):
    """Tokens of a query block and of a key block."""

    queries: int
    keys: int


@dataclass(frozen=True)
class Kernels:
    """How a chip's kernels are laid out.

    Attributes:
      transposed: the kernels for matrix units of 256; else those for units of 128.
      cores: TensorCores that one JAX device has.
    """

    transposed: bool
    cores: int

    def blocks(self, which: str, width: int, window: int | None) -> BlockSizes:
        """Of the ``forward`` or ``backward`` kernel, for heads of this width under this window (None: none)."""
        most = _WIDE if width <= 128 else _VERY_WIDE
        blocks = most[self.transposed, which]
        if window is None:
            return blocks
        longest = next((side for below, side in _UNDER_WINDOWS[self.transposed, which] if window < below), max(blocks))
        return BlockSizes(min(blocks.queries, longest), min(blocks.keys, longest))


_WIDE = {
    (False, "forward"): BlockSizes(2048, 1024),
    (False, "backward"): BlockSizes(1024, 1024),
    (True, "forward"): BlockSizes(2048, 2048),
    (True, "backward"): BlockSizes(2048, 2048),
}
_VERY_WIDE = {
    (False, "forward"): BlockSizes(1024, 1024),
    (False, "backward"): BlockSizes(1024, 1024),
    (True, "forward"): BlockSizes(2048, 2048),
    (True, "backward"): BlockSizes(2048, 1024),
}

# A longer block has more tiles half empty, a shorter one more outside its loops and, transposed, less to overlap, above
# all forward: the longest side of a block under windows shorter than so many tokens. Compiled for v5p, v6e and tpu7x
# (benchmarks/window_blocks.py).
_UNDER_WINDOWS = {
    (False, "forward"): ((2048, 512), (16_384, 1024)),
    (False, "backward"): ((4097, 512),),
    (True, "forward"): ((1024, 512), (8192, 1024)),
    (True, "backward"): ((1537, 512), (8193, 1024)),
}

_CHIPS = {  # by device kind
    "TPU v4": Kernels(transposed=False, cores=2),
    "TPU v5 lite": Kernels(transposed=False, cores=1),
    "TPU v5e": Kernels(transposed=False, cores=1),
    "TPU v5": Kernels(transposed=False, cores=2),
    "TPU v5p": Kernels(transposed=False, cores=2),
    "TPU v6 lite": Kernels(transposed=True, cores=1),
    "TPU v6e": Kernels(transposed=True, cores=1),
    "TPU7x": Kernels(transposed=True, cores=1),  # one JAX device is half of a chip
}


def kernels_of(device_kind: str) -> Kernels:
    """The kernels of a device that JAX calls so; an unknown one is taken for a relative of the newest."""
    return _CHIPS.get(device_kind, _CHIPS["TPU7x"])
