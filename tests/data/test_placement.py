"""On a mesh, the devices together hold exactly the batch, each only its rows and its context shard."""

import numpy as np
import pytest

from polaris_jax.data import Batches, iterate_placed, place, plan_bins
from polaris_jax.sharding import make_mesh


@pytest.mark.parametrize(
    ("shape", "rows_each"),
    [({"data": 2, "context": 4}, 2), ({"fsdp": 2, "context": 2, "tensor": 2}, 2), ({"context": 8}, 4)],
)
def test_the_mesh_holds_the_batch(store, shape, rows_each, monkeypatch):
    batches = Batches(store, plan_bins(store.lengths, 96), batch_size=4, seed=1, shards=shape["context"])
    whole = batches.batch(3)
    reads, plain = [], batches.batch
    monkeypatch.setattr(batches, "batch", lambda *part: reads.append(part) or plain(*part))
    for name, array in place(batches, 3, make_mesh(shape)).items():
        np.testing.assert_array_equal(np.asarray(array), whole[name])
        assert {shard.data.shape for shard in array.addressable_shards} == {(rows_each, 96 // shape["context"])}
    assert len(reads) == (4 // rows_each) * shape["context"]  # tensor-parallel peers share a read


def test_placed_steps_come_in_order(store):
    mesh = make_mesh({"data": 2, "context": 4})
    batches = Batches(store, plan_bins(store.lengths, 96), batch_size=4, seed=1, shards=4)
    for step, placed in iterate_placed(batches, mesh, 2, 5, threads=2):
        np.testing.assert_array_equal(np.asarray(placed["targets"]), batches.batch(step)["targets"])
