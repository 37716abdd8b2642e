"""From a config to batches: which stores, which authors, and which windows at which step."""

from typing import cast

import numpy as np
from jax.sharding import Mesh

from polaris_jax.data import Batches, Curriculum, Mixture, TokenStore, load_tokenizer, plan_bins
from polaris_jax.errors import InputError
from polaris_jax.training.config import TrainConfig


def open_training_data(config: TrainConfig, mesh: Mesh) -> Curriculum:
    """Batches of the training split: ``data.curriculum`` first, then ``data.window`` for ever.

    Raises:
      InputError: a store that cannot be read or was made with another tokenizer, a split that does not exist, a
        trajectory too long for its window, a window that does not divide over the mesh.
    """
    stores, weights = _stores(config)
    chosen = [_trajectories(store, config.data.split, config.data.max_trajectories) for store in stores]
    last = (1, config.data.window, config.data.batch_size)
    stages = []
    for number, (steps, window, rows) in enumerate((*config.data.curriculum, last)):
        overlong = "drop" if number < len(config.data.curriculum) else config.data.overlong
        stages.append((steps, _mixed(stores, weights, chosen, config, mesh, window, rows, overlong)))
    return Curriculum(stages)


def open_held_out_data(config: TrainConfig, mesh: Mesh) -> Batches:
    """One microbatch at a time of the rows of ``eval.split`` in ``data.store``, in windows of ``data.window``."""
    shares = mesh.shape["data"] * mesh.shape["fsdp"]
    parts = shares * config.train.microbatches
    store = _stores(config)[0][0]
    chosen = _trajectories(store, config.eval.split, 0, "config.eval.split")
    plan = plan_bins(store.lengths, config.data.window, documents=chosen, overlong="drop")
    return Batches(
        store,
        plan,
        batch_size=-(-config.data.batch_size // parts) * shares,
        seed=0,
        shards=mesh.shape["context"],
    )


def _stores(config: TrainConfig) -> tuple[list[TokenStore], list[float]]:
    tokenizer = load_tokenizer(config.model.path, stages=False)  # a store of chats needs no stage tokens
    sources = ((config.data.store, 1.0), *config.data.mix)
    stores = [TokenStore.open(path, tokenizer) for path, _ in sources]
    for store in stores:
        if len(store) and "pair" in store.meta(0):  # supervised training would learn the rejected answers too
            advice = (
                "holds preference pairs; polaris rl learns from them, with data.kind=pairs and rl.objective=dpo or orpo"
            )
            raise InputError("config.data.store", store.path, advice)
    return stores, [weight for _, weight in sources]


def _mixed(stores, weights, chosen, config, mesh, window, rows, overlong) -> Batches | Mixture:
    alone = len(stores) == 1
    sources = [
        Batches(
            store,
            plan_bins(store.lengths, window, documents=documents, overlong=overlong),
            batch_size=rows if alone else 1,
            seed=config.seed,
            shards=mesh.shape["context"],
        )
        for store, documents in zip(stores, chosen, strict=True)
    ]
    return sources[0] if alone else Mixture(sources, weights, batch_size=rows)


def _trajectories(store: TokenStore, split: str, most: int, field: str = "config.data.split") -> np.ndarray:
    """Up to ``most`` trajectories of the split (0: all), evenly spaced; of a store without splits, all count.

    Raises:
      InputError: no trajectory belongs to ``split``, the value of the config's ``field``.
    """
    known = sorted({store.meta(i)["split"] for i in range(len(store)) if "split" in store.meta(i)})
    chosen = np.arange(len(store)) if not split or not known else store.where(split=split)
    if not len(chosen):
        without = "; --config.eval.every=0 trains without evaluation" if field == "config.eval.split" else ""
        raise InputError(
            field, split, f"no trajectory of {store.path} belongs to it; it has {', '.join(known)}{without}"
        )
    if 0 < most < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    return chosen


def described(data: Curriculum) -> dict:
    """Facts for the start of a run: ``rows``, ``fill`` and the ``trajectories`` of the last stage's first store."""
    last = data.stages[-1]
    first = last.sources[0] if isinstance(last, Mixture) else cast(Batches, last)
    return {"rows": len(first.plan), "fill": first.plan.fill, "trajectories": sorted(first.plan.documents.tolist())}
