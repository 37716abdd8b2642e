"""Mesh axes and logical axes: where every array lives, declared beside the model and nowhere inside its prose.

Mesh axes are ``data, fsdp, context, tensor``. Weights and activations carry *logical* axis names; ``rules`` maps
those to mesh axes.
"""

from polaris_jax.sharding.mesh import MESH_AXES, make_mesh
from polaris_jax.sharding.rules import activation_spec, axes_size, spec_axes, weight_sharding, weight_spec

__all__ = ["MESH_AXES", "activation_spec", "axes_size", "make_mesh", "spec_axes", "weight_sharding", "weight_spec"]
