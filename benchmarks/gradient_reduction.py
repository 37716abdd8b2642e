"""What it costs to add the devices' gradients up in bfloat16: relative errors by dtype, number of devices and order.

    python benchmarks/gradient_reduction.py [--devices 8 64 256 1024] [--seeds 3]

Every device differentiates its own row of a small random decoder, as in training (bfloat16, weights' gradients rounded
once); these gradients are then added up as a mesh adds them, with a rounding after every addition, and held against
their sum in float64. Orders: ``ring`` (one device after the other: what a reduce-scatter over one ring does),
``two rings`` (both directions at once, the halves joined), ``torus`` (ring by ring over the axes of the slice: 2x2x2,
4x4x4, 16x16, 8x8x16), ``tree`` (pairs). Figures are Frobenius norms, median and range over the seeds.

``matrices`` is the worst matrix of the layers, ``scales`` the worst norm scale, ``frequent`` the embedding row of a
token in every tenth place, ``signal`` the norm of the sum over that of independent terms: 1 where the devices'
gradients have nothing in common, ``sqrt(devices)`` where they are equal. CPU only, about two minutes.
"""

import argparse
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from polaris_jax.models import ModelConfig, init_params
from polaris_jax.sharding import make_mesh
from polaris_jax.training import default_config
from polaris_jax.training.step import loss_and_gradients, supervised

FREQUENT, TOKENS = 7, 128
MODEL = ModelConfig.from_hf(
    {
        "model_type": "llama",
        "vocab_size": 256,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e4,
        "tie_word_embeddings": False,
    }
)
TORUS = {8: (2, 2, 2), 64: (4, 4, 4), 256: (16, 16), 1024: (8, 8, 16)}


def local_gradients(devices: int, seed: int) -> dict[str, np.ndarray]:
    """``{path: [devices, ...] bfloat16}``, every device's own gradient of one row."""
    config = default_config()
    config.model.update({"remat": "full", "compute_dtype": "bfloat16", "attention_block": 128})
    mesh = make_mesh({"context": 1}, devices=jax.devices()[:1])
    step = loss_and_gradients(config, MODEL, mesh, supervised(config))
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), init_params(MODEL, jax.random.key(seed)))
    draw = np.random.default_rng(seed)
    tokens = draw.integers(FREQUENT + 1, MODEL.vocab_size, (devices, 1, TOKENS)).astype(np.int32)
    tokens[draw.random(tokens.shape) < 0.1] = FREQUENT

    def one(tokens):
        ones = jnp.ones_like(tokens)
        batch = {"tokens": tokens, "targets": jnp.roll(tokens, -1, 1), "weights": ones.astype(jnp.float32)}
        batch |= {"segment_ids": ones, "positions": jnp.arange(TOKENS, dtype=jnp.int32)[None]}
        batch |= {"roles": 0 * ones, "kinds": 0 * ones}
        return step(params, batch, jnp.float32(devices * TOKENS))[1]

    found = jax.jit(lambda tokens: jax.lax.map(one, tokens))(tokens)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
    }


def added(terms: np.ndarray, order: str, dtype) -> np.ndarray:
    """``[n, ...]`` added up in ``order``, rounded to ``dtype`` after every addition."""
    terms = terms.astype(dtype)
    if order == "ring":
        total = terms[0]
        for term in terms[1:]:
            total = (total.astype(np.float32) + term.astype(np.float32)).astype(dtype)
        return total
    if order == "two rings":
        middle = len(terms) // 2
        return added(np.stack([added(part, "ring", dtype) for part in (terms[:middle], terms[middle:])]), "ring", dtype)
    if order == "tree":
        while len(terms) > 1:
            terms = (terms[::2].astype(np.float32) + terms[1::2].astype(np.float32)).astype(dtype)
        return terms[0]
    grid = terms.reshape(*TORUS[len(terms)], *terms.shape[1:])
    for _ in TORUS[len(terms)]:
        grid = added(grid, "ring", dtype)
    return grid


def distance(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got.astype(np.float64) - want) / np.linalg.norm(want))


def figures(terms: dict[str, np.ndarray], order: str, dtype) -> dict[str, float]:
    """Relative errors of the sums, the last rounding (to bfloat16) included."""
    exact = {path: leaf.astype(np.float64).sum(0) for path, leaf in terms.items()}
    sums = {path: added(leaf, order, dtype).astype(ml_dtypes.bfloat16) for path, leaf in terms.items()}
    errors = {path: distance(sums[path], exact[path]) for path in terms}
    row = (sums["embed/embedding"][FREQUENT], exact["embed/embedding"][FREQUENT])
    return {
        "matrices": max(e for path, e in errors.items() if "blocks" in path and "scale" not in path),
        "scales": max(e for path, e in errors.items() if "scale" in path),
        "head": errors["head/kernel"],
        "frequent": distance(*row),
    }


def signal(terms: dict[str, np.ndarray], path: str) -> float:
    leaf = terms[path].astype(np.float64)
    return float(np.linalg.norm(leaf.sum(0)) / np.sqrt(np.square(leaf).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64, 256, 1024], choices=TORUS)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    print("| devices | dtype of the sum | order | matrices | scales | head | frequent row |\n" + "|---" * 7 + "|")
    for devices in arguments.devices:
        drawn = [local_gradients(devices, seed) for seed in range(arguments.seeds)]
        for dtype, orders in ((ml_dtypes.bfloat16, ("ring", "two rings", "torus", "tree")), (np.float32, ("ring",))):
            for order in orders:
                rows = [figures(terms, order, dtype) for terms in drawn]
                cells = [
                    f"{np.median(column):.2%} [{min(column):.2%}, {max(column):.2%}]"
                    for column in ([row[name] for row in rows] for name in rows[0])
                ]
                print(f"| {devices} | {np.dtype(dtype).name} | {order} | {' | '.join(cells)} |", flush=True)
        shared = {path: signal(drawn[0], path) for path in ("blocks/0/mlp/down", "norm/scale", "head/kernel")}
        print(f"signal at {devices}: " + ", ".join(f"{path} {value:.1f}" for path, value in shared.items()), flush=True)


if __name__ == "__main__":
    main()
