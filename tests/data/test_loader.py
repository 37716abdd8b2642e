"""Batches: exactly the stored text, shifted and weighted, the same wherever a run is resumed."""

import json

import numpy as np
import pytest

from polaris_jax.data import Batches, TokenStore, plan_bins, zigzag_inverse
from polaris_jax.errors import InputError

WINDOW, ROWS = 96, 3


@pytest.fixture(scope="module")
def plan(store):
    return plan_bins(store.lengths, WINDOW)


@pytest.fixture(scope="module")
def batches(store, plan):
    return Batches(store, plan, batch_size=ROWS, seed=11, shards=4)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def written_out(trajectories, rows):
    """The batch, built from its definition one token at a time."""
    names = {
        "tokens": "int32",
        "targets": "int32",
        "weights": "float32",
        "roles": "int8",
        "kinds": "int8",
        "segment_ids": "int32",
        "positions": "int32",
    }
    out = {name: np.zeros((len(rows), WINDOW), dtype) for name, dtype in names.items()}
    for row, documents in enumerate(rows):
        place = 0
        for segment, document in enumerate(documents, start=1):
            book = trajectories[document]
            for position in range(len(book)):
                out["tokens"][row, place] = book.tokens[position]
                out["segment_ids"][row, place] = segment
                out["positions"][row, place] = position
                if position + 1 < len(book):
                    out["targets"][row, place] = book.tokens[position + 1]
                    out["weights"][row, place] = book.weights[position + 1]
                    out["roles"][row, place] = book.roles[position + 1]
                    out["kinds"][row, place] = book.kinds[position + 1]
                place += 1
    return out


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_batch_is_what_its_definition_says(store, plan, trajectories, shards):
    batches = Batches(store, plan, batch_size=ROWS, seed=3, shards=shards)
    for step in range(4):
        stored = batches.batch(step)
        natural = {name: array[:, zigzag_inverse(WINDOW, shards)] for name, array in stored.items()}
        assert_equal(natural, written_out(trajectories, batches.rows(step)))


def test_natural_order_on_request(store, plan, trajectories):
    batches = Batches(store, plan, batch_size=ROWS, seed=3, shards=4, zigzag=False)
    assert_equal(batches.batch(2), written_out(trajectories, batches.rows(2)))


def test_unpacking_the_rows_of_an_epoch_gives_every_trajectory_once(store, plan, trajectories):
    batches = Batches(store, plan, batch_size=1, seed=5, shards=4)
    seen = []
    for step in range(len(plan)):
        batch = {name: array[0, zigzag_inverse(WINDOW, 4)] for name, array in batches.batch(step).items()}
        for segment, document in enumerate(batches.rows(step)[0], start=1):
            np.testing.assert_array_equal(
                batch["tokens"][batch["segment_ids"] == segment], trajectories[document].tokens
            )
            seen.append(document)
    assert sorted(seen) == list(range(len(trajectories)))


def test_epochs_are_shuffled_differently_and_seeds_too(store, plan):
    def epoch(seed, number):
        batches = Batches(store, plan, batch_size=1, seed=seed)
        return [tuple(batches.rows(number * len(plan) + step)[0]) for step in range(len(plan))]

    orders = [epoch(0, 0), epoch(0, 1), epoch(0, 2), epoch(1, 0)]
    assert len(set(map(tuple, orders))) > 1
    assert len({frozenset(order) for order in orders}) == 1


def test_a_step_does_not_depend_on_how_its_rows_are_split(store, plan, batches):
    singles = Batches(store, plan, batch_size=1, seed=11, shards=4)
    for step in (0, 7):
        whole = batches.batch(step)
        for row in range(ROWS):
            assert_equal({k: v[row : row + 1] for k, v in whole.items()}, singles.batch(step * ROWS + row))


@pytest.mark.parametrize("columns", [slice(0, 24), slice(24, 48), slice(72, None), slice(5, 71), slice(9, 9)])
@pytest.mark.parametrize("rows", [slice(None), slice(1, 3), slice(2, 2)])
def test_a_part_is_the_slice_of_the_whole(batches, rows, columns):
    whole = batches.batch(4)
    assert_equal(batches.batch(4, rows, columns), {name: array[rows, columns] for name, array in whole.items()})


def test_a_part_reads_only_its_own_tokens(store, plan, monkeypatch):
    batches = Batches(store, plan, batch_size=ROWS, seed=11, shards=4)
    read, plain = [], store.read_many

    def read_many(ranges):
        read.extend(stop - start for _, start, stop in ranges)
        return plain(ranges)

    monkeypatch.setattr(store, "read_many", read_many)
    batches.batch(0, slice(0, 1), slice(0, 24))
    assert 0 < sum(read) <= 24 + len(read)  # one token more per range, for the target of its last input


def test_iterating_is_batch_after_batch_and_resuming_continues(batches, store, plan):
    whole = list(batches.iterate(0, 9, threads=2))
    assert [step for step, _ in whole] == list(range(9))
    for step, batch in whole:
        assert_equal(batch, batches.batch(step))
    saved = json.loads(json.dumps(batches.state(5)))
    again = Batches(TokenStore.open(store.path), plan_bins(store.lengths, WINDOW), batch_size=ROWS, seed=11, shards=4)
    for (step, batch), (other, expected) in zip(again.iterate(again.check_state(saved), 9), whole[5:], strict=True):
        assert step == other
        assert_equal(batch, expected)


def test_a_state_of_other_data_is_refused(batches, store, plan):
    state = batches.state(5)
    for field in ("seed", "batch_size", "window", "plan", "content"):
        with pytest.raises(InputError, match=rf"data state\.{field}"):
            batches.check_state(state | {field: "another"})
    reshaped = Batches(store, plan, batch_size=ROWS, seed=11, shards=2)
    assert reshaped.check_state(state) == 5  # the context shards may change between runs


def test_bad_settings_are_refused(store, plan):
    with pytest.raises(InputError, match="smallest that holds it is 100"):
        Batches(store, plan, batch_size=1, seed=0, shards=5)
    with pytest.raises(InputError, match="not made from the lengths of this store"):
        Batches(store, plan_bins([5, 6, 7], WINDOW), batch_size=1, seed=0)
    with pytest.raises(InputError, match="batch_size=0"):
        Batches(store, plan, batch_size=0, seed=0)
    with pytest.raises(InputError, match="seed=-1"):
        Batches(store, plan, batch_size=1, seed=-1)
