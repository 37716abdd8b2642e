"""Options of the TPU compiler for a step. Planning and training share them, so both compile the same program."""

from jax.sharding import Mesh

# Collectives run on the SparseCores, small processors beside the matrix units, which go on meanwhile. It costs no
# memory as long as no large result of the step's end (the optimizer's) is an array of its own: such an array is set
# aside when the step begins.
_ALL = {
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": True,
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": True,
    "xla_tpu_enable_sparse_core_collective_offload_all_gather": True,
    "xla_tpu_enable_sparse_core_collective_offload_2d_all_gather": True,
    "xla_tpu_enable_sparse_core_collective_offload_3d_all_gather": True,
    "xla_enable_async_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": False,
    "xla_tpu_enable_async_all_to_all": True,
}
OVERLAP: dict[str, dict[str, bool]] = {"none": {}, "all": _ALL}
# KiB of VMEM that one operation of the compiler's own may take, of 64 MiB (v5p, tpu7x) or 128 MiB (v6e). Its default is
# 16 or 32 MiB, and the tiles of a matrix product that fit into those wait for memory on v6e
# (benchmarks/block_cycles.py); more than this makes compiling slow for one to three percent. The device kinds are those
# with SparseCores.
_SCOPED_VMEM = {"TPU v5": 32768, "TPU v5p": 32768, "TPU v6 lite": 65536, "TPU7x": 49152}


def compiler_options(mesh: Mesh, overlap: str) -> dict[str, bool | int] | None:
    """Options for ``jax.jit`` on this mesh; None where there are none.

    Args:
      overlap: which collectives run beside computation: ``all`` or ``none``.
    """
    kind = mesh.devices.flat[0].device_kind
    if kind not in _SCOPED_VMEM:
        return None
    return {"xla_tpu_scoped_vmem_limit_kib": _SCOPED_VMEM[kind], **OVERLAP[overlap]}
