"""Device arrays as numpy arrays, in every process of a run."""

from typing import Any

import jax
from jax.experimental import multihost_utils


def fetch(tree: Any) -> Any:
    """The whole arrays of ``tree`` as numpy. If arrays span several processes, every process must call this."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    return multihost_utils.process_allgather(tree, tiled=True)
