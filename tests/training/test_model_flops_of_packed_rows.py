"""MFU counts the FLOPs that packed documents take: attention ends where a document ends, not where the row does."""

import dataclasses

import numpy as np
import pytest

from polaris_jax.data import Batches, TokenStore, plan_bins
from polaris_jax.models import describe, from_pretrained
from polaris_jax.sharding.chips import CHIPS
from polaris_jax.training import read_metrics, train


def test_the_flops_behind_the_mfu_are_those_of_the_documents(make_config, tmp_path, monkeypatch):
    chip = dataclasses.replace(CHIPS["v5e"], name="host", kinds=("cpu",))
    monkeypatch.setitem(CHIPS, "host", chip)  # a peak to measure this machine by
    config = make_config()
    config.data.window *= 2  # a trajectory of the store fills one
    config.train.steps = 1
    config.optim.warmup = 0
    train(config, tmp_path / "run")
    [line] = read_metrics(tmp_path / "run")
    counted = line["mfu"] / line["tokens_per_s_per_device"] * chip.flops

    store = TokenStore.open(config.data.store)
    plan = plan_bins(store.lengths, config.data.window)
    segments = Batches(store, plan, batch_size=2, seed=config.seed, shards=4).batch(0)["segment_ids"]
    lengths = [np.sum(row == number) for row in segments for number in np.unique(row) if number]
    assert len(lengths) > len(segments), "no row holds several documents"
    parts = describe(from_pretrained(config.model.path).config)
    actual = sum(3 * parts.flops_per_token(int(n)).total * n for n in lengths) / sum(lengths)
    assert counted == pytest.approx(actual, rel=1e-3)
