"""What the TPU compiler is told about a step, so that planning and training compile the same program."""

from jax.sharding import Mesh

# Device kinds with SparseCores, small processors beside the matrix units that can run collectives.
_SPARSE_CORES = ("TPU v5", "TPU v5p", "TPU v6 lite", "TPU7x")
# Reductions run on the SparseCores while the matrix units go on: no memory, no code, every gradient hidden.
_REDUCTIONS = {
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": True,
    "xla_tpu_enable_sparse_core_collective_offload_all_reduce": True,
}
# Gathers and exchanges too. The compiler then keeps more of them in flight: at 14B on four chips that is 10 GB more.
_ALL = _REDUCTIONS | {
    "xla_tpu_enable_sparse_core_collective_offload_all_gather": True,
    "xla_tpu_enable_sparse_core_collective_offload_2d_all_gather": True,
    "xla_tpu_enable_sparse_core_collective_offload_3d_all_gather": True,
    "xla_enable_async_all_gather": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": False,
    "xla_tpu_enable_async_all_to_all": True,
}
OVERLAP = {"none": {}, "reductions": _REDUCTIONS, "all": _ALL}


def compiler_options(mesh: Mesh, overlap: str) -> dict[str, bool] | None:
    """Options for ``jax.jit`` on this mesh; None where nothing is to be said.

    Args:
      overlap: which collectives run beside computation: ``all``, ``reductions`` or ``none``.
    """
    if mesh.devices.flat[0].device_kind not in _SPARSE_CORES:
        return None
    return OVERLAP[overlap] or None
