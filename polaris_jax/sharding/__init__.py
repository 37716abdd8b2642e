"""Mesh axes and logical axes: how arrays are sharded, declared beside the model and not inside its code.

Mesh axes are ``data, fsdp, context, tensor``. Weights and activations have *logical* axis names, which ``rules`` maps
to mesh axes. With several slices, first ``data``, then ``fsdp`` crosses the data-centre network (``slices``).
"""

from polaris_jax.sharding.fetch import fetch
from polaris_jax.sharding.mesh import MESH_AXES, make_mesh, resolve_sizes
from polaris_jax.sharding.rules import activation_spec, axes_size, spec_axes, weight_sharding, weight_spec
from polaris_jax.sharding.slices import OVER_SLICES, group_by_slice, shares_over_slices

__all__ = [
    "MESH_AXES",
    "OVER_SLICES",
    "activation_spec",
    "axes_size",
    "fetch",
    "group_by_slice",
    "make_mesh",
    "resolve_sizes",
    "shares_over_slices",
    "spec_axes",
    "weight_sharding",
    "weight_spec",
]
