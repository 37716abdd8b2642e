"""One table of chips with the source of each number: the only hardware constants of the project.

Per **device** as JAX counts them (a v5p chip is one device, an Ironwood chip is two), decimal units.

Sources: FLOP/s, HBM size and bandwidth, and ICI from the Cloud TPU pages of each version (docs.cloud.google.com/tpu:
v5e, v5p, v6e, tpu7x); one-way ICI bandwidth per link, host link (PCIe) and data-centre network from "How to Scale Your
Model", chapter 2 (jax-ml.github.io/scaling-book/tpus). The prices of chips are in ``prices.toml``.
``hbm_limit`` is the memory that the compiler allows a program, read from its out-of-memory message for each topology
(libtpu 0.0.42).
"""

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """One JAX device of a TPU version.

    Attributes:
      topology_prefix: the version's name in ``jax.experimental.topologies``.
      devices_per_chip: JAX devices on one chip.
      cores_in_name: the unit of a slice name: 2 counts TensorCores (``v5p-16`` is 8 chips), 1 counts chips.
      torus: 3 for a three-dimensional torus, 2 for a two-dimensional one.
      flops: bfloat16 matrix FLOP/s. hbm_limit: bytes. hbm: bytes/s.
      ici_link: bytes/s one way over one link to one neighbour.
      host_link: bytes/s between device and host memory. dcn: bytes/s to other slices.
      host_bytes: main memory of a host divided by its devices.
      kinds: JAX's names for such a device (``device_kind``).
    """

    name: str
    topology_prefix: str
    devices_per_chip: int
    cores_in_name: int
    torus: int
    flops: float
    hbm_limit: int
    hbm: float
    ici_link: float
    host_link: float
    dcn: float
    host_bytes: float
    kinds: tuple[str, ...] = ()


# fmt: off
CHIPS = {chip.name: chip for chip in (
    Chip("v5e", "v5e", 1, 1, 2, 197e12, int(15.75 * GIB), 0.82e12, 45e9, 16e9, 3.1e9, 384e9 / 8,
         ("TPU v5 lite", "TPU v5e")),
    Chip("v5p", "v5", 1, 2, 3, 459e12, int(95.74 * GIB), 2.77e12, 90e9, 16e9, 6.25e9, 448e9 / 4,
         ("TPU v5", "TPU v5p")),
    Chip("v6e", "v6e", 1, 1, 2, 918e12, int(31.25 * GIB), 1.64e12, 90e9, 32e9, 12.5e9, 1440e9 / 8,
         ("TPU v6 lite", "TPU v6e")),
    Chip("tpu7x", "tpu7x", 2, 2, 3, 1153e12, int(94.75 * GIB), 3.69e12, 50e9, 16e9, 6.25e9, 960e9 / 8,
         ("TPU7x", "TPU v7", "TPU7")),
)}
# fmt: on


def chip_of(device_kind: str) -> Chip | None:
    """The chip whose devices have JAX's ``device_kind``; None for a CPU or a device not in the table."""
    return next((chip for chip in CHIPS.values() if device_kind in chip.kinds), None)
