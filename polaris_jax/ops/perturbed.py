"""Custom gradients that make only what is asked for: which inputs are differentiated, and which are constants.

With ``defvjp(..., symbolic_zeros=True)`` the forward rule is told so of every input; a frozen weight then costs neither
the product that would be its gradient nor what that product would need kept.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero


def values(tree: Any) -> Any:
    """The arrays of a forward rule's argument."""
    return jax.tree.map(lambda leaf: leaf.value, tree, is_leaf=_is_primal)


def split(tree: Any) -> tuple[Any, Any]:
    """``(arrays to be differentiated, the others)``, each with None in the places of the other kind."""

    def those(wanted: bool) -> Any:
        return jax.tree.map(lambda leaf: leaf.value if leaf.perturbed is wanted else None, tree, is_leaf=_is_primal)

    return those(True), those(False)


def merge(trained: Any, others: Any) -> Any:
    """What ``split`` took apart."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, others, is_leaf=lambda leaf: leaf is None)


def instantiate(cotangent: Any) -> Any:
    """An array for a cotangent that is known to be zero."""
    return jnp.zeros(cotangent.shape, cotangent.dtype) if isinstance(cotangent, SymbolicZero) else cotangent


def _is_primal(leaf: Any) -> bool:
    return isinstance(leaf, CustomVJPPrimal)
