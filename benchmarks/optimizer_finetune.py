"""How much of a fine-tuning update survives rounding to bfloat16: SmolLM2 at a learning rate of 2e-5.

    python benchmarks/optimizer_finetune.py FOLDER --steps 6        # FOLDER: SmolLM2-135M in Hugging Face layout

Muon's updates then have a root-mean-square of 4e-6, AdamW's are at most 2e-5, and most weights' bfloat16 neighbours are
further away. Float32 masters are trained on a novel; the very same updates are also written to bfloat16 weights, by
nearest and by stochastic rounding. Per group of parameters:

* ``changed``: share of the weights that a step changes, mean over the steps.
* ``kept``: how far the weights went along the way that the masters went, ``<moved, meant> / <meant, meant>``; 1 = all.

The held-out loss of every set of weights, computed in float32, comes last.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from polaris_jax.data import load_tokenizer
from polaris_jax.library import read_novel
from polaris_jax.models import from_pretrained
from polaris_jax.models.decoder import logits
from polaris_jax.optim import apply_updates, label_params, make_optimizer, make_schedule, working_copy

RATE, HELD_OUT = 2e-5, 8  # held-out windows


def windows(folder: str, novel: Path, length: int, count: int, first: int = 2_000) -> np.ndarray:
    """``[count, length + 1]`` tokens of a novel, one piece after the other."""
    text = "\n\n".join(chapter.text for chapter in read_novel(novel).chapters)
    tokens = np.asarray(load_tokenizer(folder).encode(text[first : first + 8 * length * (count + 1)]), np.int32)
    return tokens[: count * (length + 1)].reshape(count, length + 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--length", type=int, default=256, help="tokens per step")
    parser.add_argument("--shared", type=Path, default=os.environ.get("POLARIS_SHARED", "../shared"))
    a = parser.parse_args()
    corpus = Path(a.shared) / "corpus"
    rows = windows(a.folder, corpus / "stevenson_treasure-island.txt", a.length, a.steps)
    held = windows(a.folder, corpus / "buchan_the-thirty-nine-steps.txt", a.length, HELD_OUT)

    decoder = from_pretrained(a.folder, dtype=jnp.bfloat16)
    model, start = decoder.config, decoder.params
    labels = label_params(start)
    optimizer = make_optimizer(labels, make_schedule("constant", RATE, a.steps, 0))

    def loss(params, row):
        scores = logits(params, model, row[None, :-1], compute_dtype=jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(scores, row[None, 1:]).mean()

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def step(masters, others, state, row, key):
        value, gradients = jax.value_and_grad(loss)(masters, row)
        updates, state = optimizer.update(gradients, state, masters)
        after = {
            "nearest": jax.tree.map(
                lambda p, u: (p.astype(jnp.float32) + u).astype(p.dtype), others["nearest"], updates
            ),
            "stochastic": apply_updates("bf16_stochastic", others["stochastic"], updates, key),
        }
        changed = {name: jax.tree.map(lambda b, a: (a != b).mean(), others[name], after[name]) for name in after}
        return apply_updates("fp32_master", masters, updates, key), after, state, value, changed

    def by_group(tree, weight=None):
        """Mean over the parameters of every group."""
        sums = {}
        weights = jax.tree.map(lambda p: float(p.size), start) if weight is None else weight
        for value, size, label in zip(*map(jax.tree.leaves, (tree, weights, labels)), strict=True):
            total = sums.setdefault(label, [0.0, 0.0])
            total[0] += float(value) * (float(size) if weight is None else 1.0)
            total[1] += float(size)
        return {label: total / size for label, (total, size) in sums.items()}

    masters = jax.tree.map(lambda p: p.astype(jnp.float32), start)
    others = {name: jax.tree.map(jnp.copy, start) for name in ("nearest", "stochastic")}
    state, key, shares = optimizer.init(masters), jax.random.key(0), []
    for number, row in enumerate(rows):
        masters, others, state, value, changed = step(masters, others, state, row, jax.random.fold_in(key, number))
        shares.append({name: by_group(tree) for name, tree in changed.items()})
        print(json.dumps({"step": number + 1, "loss": round(float(value), 4), "changed": shares[-1]}), flush=True)

    copies = {
        **others,
        "masters, nearest copy": working_copy("fp32_master", masters, key, 1.0, jnp.bfloat16),
        "masters, stochastic copy": working_copy("stochastic_downcast", masters, key, 1.0, jnp.bfloat16),
    }
    inner = jax.jit(
        lambda x, y, at: jax.tree.map(
            lambda x, y, at: jnp.vdot(
                x.astype(jnp.float32) - at.astype(jnp.float32), y.astype(jnp.float32) - at.astype(jnp.float32)
            ),
            x,
            y,
            at,
        )
    )
    meant = inner(masters, masters, start)
    held_out = jax.jit(
        lambda params: jax.lax.map(partial(loss, jax.tree.map(lambda p: p.astype(jnp.float32), params)), held).mean()
    )
    for name, params in {"before": start, "masters": masters, **copies}.items():
        kept = {} if name in ("before", "masters") else {"kept": by_group(inner(params, masters, start), meant)}
        share = (
            {}
            if name not in others
            else {"changed": {label: float(np.mean([s[name][label] for s in shares])) for label in shares[0][name]}}
        )
        print(json.dumps({"weights": name, "held_out": round(float(held_out(params)), 5), **share, **kept}), flush=True)


if __name__ == "__main__":
    main()
