"""The pictures of the mesh show what the data pipeline and the ring really do."""

from collections import Counter

import numpy as np
import pytest
from pages import Page

from polaris_jax.data import zigzag_order
from polaris_jax.report.mesh_pictures import hop_picture, mesh_picture, ring_hops, shard_chunks, zigzag_picture


@pytest.mark.parametrize("shards", [2, 3, 4, 8])
def test_chunks_are_those_of_the_data_pipeline(shards):
    window = 2 * shards * 5
    stored = zigzag_order(window, shards).reshape(shards, 2, 5)
    for shard, held in enumerate(shard_chunks(shards)):
        assert held == (shard, 2 * shards - 1 - shard)
        assert np.array_equal(stored[shard] // 5, np.repeat(np.array(held)[:, None], 5, axis=1))


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 8])
def test_the_hops_together_compute_every_causal_pair_once(shards):
    chunks = 2 * shards if shards > 1 else 1
    done = Counter((pair.query, pair.key) for hop in ring_hops(shards) for pair in hop)
    assert done == Counter((query, key) for query in range(chunks) for key in range(query + 1))


@pytest.mark.parametrize("shards", [2, 3, 4, 8])
def test_every_shard_has_the_same_work_at_every_hop(shards):
    for number, hop in enumerate(ring_hops(shards)):
        full = Counter(pair.shard for pair in hop if not pair.diagonal)
        diagonal = Counter(pair.shard for pair in hop if pair.diagonal)
        assert full == dict.fromkeys(range(shards), 1 if number == 0 else 2)
        assert diagonal == (dict.fromkeys(range(shards), 2) if number == 0 else {})


def test_the_mesh_shows_every_device_once():
    page = Page(mesh_picture({"data": 2, "fsdp": 1, "context": 3, "tensor": 2}))
    labels = [text for place, text in page.texts if place[-1] == "text.on-shard"]
    assert labels == [str(device) for device in range(12)]
    assert page.tags.count("rect") == 12
    assert "context 2" in page.text
    assert "data 1" in page.text


def test_the_zigzag_picture_names_each_chunk_twice():
    page = Page(zigzag_picture(4, 8192))
    labels = [text for place, text in page.texts if place[-1] == "text.on-shard"]
    assert labels == [*map(str, range(8)), "0", "7", "1", "6", "2", "5", "3", "4"]
    assert "8 chunks of 1,024 tokens" in page.text
    assert "tokens" not in zigzag_picture(4, None)


def test_a_hop_picture_shows_what_is_done_now_and_what_was_done_before():
    hops = ring_hops(4)
    classes = Counter(Page(hop_picture(4, hops, 2)).values("class"))
    assert classes["shard"] == len(hops[2])
    assert classes["shard done"] == len(hops[0]) + len(hops[1])
