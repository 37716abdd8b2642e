"""What the keys and values of many texts take: room of its own for each, beside pages that they share.

    python benchmarks/cache_room.py [--model SHAPE ...] [--texts 8000 500x15] [--dtype bfloat16]

``SHAPE`` is a folder with config.json. With room of its own every text has as much as the longest needs (the cache
grows for all of them); of pages it has what it fills or begins. Bytes are those of the arrays that the cache is made of
(``jax.eval_shape``: nothing is allocated), and are compared with layers x 2 x heads x width x tokens x bytes. One JSON
line per model.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from polaris_jax.models.cache import init_cache
from polaris_jax.models.model_folder import read_config
from polaris_jax.ops.cached_attention import BLOCK
from polaris_jax.sampling.pages import PageTable, pages_of

MODELS = Path(__file__).resolve().parents[1] / "polaris_jax" / "configs" / "models"


def key_bytes(cache) -> int:
    """Bytes of keys and values, and of their scales."""
    leaves = jax.tree_util.tree_leaves_with_path(cache["blocks"])
    return sum(leaf.size * leaf.dtype.itemsize for path, leaf in leaves if path[-1].key[0] in "kv")


def main() -> None:
    """Prints a line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("smollm2_135m", "ministral3_14b", "qwen3_5_9b")
    parser.add_argument("--model", nargs="+", default=[str(MODELS / name) for name in names])
    parser.add_argument("--texts", nargs="+", default=["8000", "500x15"], help="tokens, or tokens x texts")
    parser.add_argument("--dtype", default="bfloat16")
    a = parser.parse_args()
    texts = [int(n) for part in a.texts for n, _, times in [part.partition("x")] for _ in range(int(times or 1))]
    rows, longest = len(texts), pages_of(max(texts)) * BLOCK
    table = PageTable(rows, longest, sum(pages_of(n) * BLOCK for n in texts))
    for row, tokens in enumerate(texts):
        table.cover(row, 0, tokens)
    assert table.free == 0
    for model in a.model:
        config = read_config(model, shape_only=True)
        form = partial(init_cache, config, rows, longest, jnp.dtype(a.dtype))
        own, paged = (key_bytes(jax.eval_shape(partial(form, pages=pages))) for pages in (None, table.pages))
        layers = sum(kind != "linear_attention" for kind in config.layer_types)
        token = (
            layers
            * 2
            * config.num_kv_heads
            * (config.head_dim * jnp.dtype(a.dtype).itemsize + (4 if a.dtype == "int8" else 0))
        )
        assert (own, paged) == (rows * longest * token, table.pages * BLOCK * token)
        row = {"model": Path(model).name, "texts": a.texts, "dtype": a.dtype, "bytes_per_token": token}
        row |= {"own_gb": own / 1e9, "pages": table.pages, "paged_gb": paged / 1e9, "times_less": own / paged}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
