"""The block schedule never loses a visible tile, never drops a needed mask, and leaves out what it can."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_jax.ops.attention import visible
from polaris_jax.ops.tiles import (
    FULL,
    SKIP,
    TokenMetadata,
    column_of,
    kind_of,
    padded_length,
    row_of,
    summarise,
    tile_kinds,
    tile_list,
)

BLOCK = 4


def kinds_and_mask(q, kv, window):
    kinds = jax.jit(tile_kinds, static_argnums=2)(summarise(q, BLOCK), summarise(kv, BLOCK), window)
    mask = visible(q.positions, kv.positions, q.segments, kv.segments, window)
    B, Sq, Skv = mask.shape
    return np.asarray(kinds), np.asarray(mask).reshape(B, Sq // BLOCK, BLOCK, Skv // BLOCK, BLOCK).swapaxes(2, 3)


def row(documents, length):
    segments, positions = np.zeros((1, length), np.int32), np.zeros((1, length), np.int32)
    start = 0
    for number, size in enumerate(documents, 1):
        segments[:, start : start + size], positions[:, start : start + size] = number, np.arange(size)
        start += size
    return TokenMetadata(positions, segments)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([None, 1, 5, 9]), ordered=st.booleans())
def test_any_positions_and_segments(seed, window, ordered):
    rng = np.random.default_rng(seed)
    metadata = [
        TokenMetadata(rng.integers(0, 20, (2, 24)).astype(np.int32), rng.integers(0, 4, (2, 24)).astype(np.int32))
        for _ in range(2)
    ]
    if ordered:
        metadata = [TokenMetadata(np.sort(side.positions), np.sort(side.segments)) for side in metadata]
    kinds, mask = kinds_and_mask(*metadata, window)
    assert not mask[kinds == SKIP].any()
    assert mask[kinds == FULL].all()


@pytest.mark.parametrize(("documents", "window"), [((64,), None), ((64,), 9), ((13, 30, 15), None), ((5, 5, 54), 7)])
def test_rows_in_order_have_an_exact_schedule(documents, window):
    kinds, mask = kinds_and_mask(row(documents, 64), row(documents, 64), window)
    np.testing.assert_array_equal(kinds != SKIP, mask.any(axis=(-1, -2)))
    np.testing.assert_array_equal(kinds == FULL, mask.all(axis=(-1, -2)))


def test_the_list_holds_every_tile_once_in_row_order_and_pads_with_nothing():
    kinds = np.zeros((2, 3, 5), np.int32)
    kinds[0, 0, [1, 4]], kinds[0, 2, 0], kinds[1, 1, 2] = 1, 2, 2
    tiles = tile_list(kinds, every_row=False)
    read = [[(int(row_of(c)), int(column_of(c)), int(kind_of(c))) for c in row[: tiles.used]] for row in tiles.codes]
    assert read == [[(0, 1, 1), (0, 4, 1), (2, 0, 2)], [(1, 2, 2), (1, 2, 0), (1, 2, 0)]]
    rows = tile_list(kinds, every_row=True)
    assert [int(row_of(c)) for c in rows.codes[0, :4]] == [0, 0, 1, 2]
    assert int(kind_of(rows.codes[0, 2])) == SKIP
    assert tile_list(np.zeros_like(kinds), every_row=False).used == 1


@pytest.mark.parametrize(
    ("length", "target", "unit", "expected"),
    [
        (1024, 512, 128, (512, 1024)),
        (1000, 512, 128, (512, 1024)),
        (60, 8, 1, (8, 64)),
        (130, 512, 128, (256, 256)),
        (7, 512, 1, (7, 7)),
        (2562, 1024, 128, (896, 2688)),
    ],
)
def test_blocks_are_equal_and_near_the_target(length, target, unit, expected):
    assert padded_length(length, target, unit) == expected
