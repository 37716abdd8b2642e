"""Options of the TPU compiler for a step. Planning and training share them, so both compile the same program."""

from jax.sharding import Mesh

# Device kinds with SparseCores, small processors beside the matrix units that can run collectives.
_SPARSE_CORES = ("TPU v5", "TPU v5p", "TPU v6 lite", "TPU7x")
# Collectives run on the SparseCores while the matrix units go on. It costs no memory as long as no large result of the
# step's end (the optimizer's) is an array of its own: such an array is set aside when the step begins.
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
OVERLAP = {"none": {}, "all": _ALL}


def compiler_options(mesh: Mesh, overlap: str) -> dict[str, bool] | None:
    """Options for ``jax.jit`` on this mesh, or None.

    Args:
      overlap: which collectives run beside computation: ``all`` or ``none``.
    """
    if mesh.devices.flat[0].device_kind not in _SPARSE_CORES:
        return None
    return OVERLAP[overlap] or None
