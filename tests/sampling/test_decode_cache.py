"""A cache read in chunks, one token at a time, padded or rewound gives what one plain forward pass gives."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.models.decoder import logits as forward
from polaris_jax.sampling.chunking import chunks, pass_cost
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.sampler import FIXED_PASS_TOKENS, FIXED_PASS_TOKENS_ON_CPU, Sampler
from polaris_jax.sharding import make_mesh

GREEDY = SamplingOptions(temperature=0.0)


def ids(n, vocab, seed=0):
    return np.random.default_rng(seed).integers(0, vocab, n).tolist()


def last_logits(model, tokens):
    params, config = model
    return np.asarray(forward(params, config, np.asarray([tokens], np.int32)))[0, -1]


def write(cache, n, options=GREEDY, seeds=None):
    for _ in range(n):
        batch = len(cache.tokens)
        sampled = cache.sample([options] * batch, seeds or [0] * batch)
        cache.append(sampled.token[:, None].tolist())
    return [list(row) for row in cache.tokens]


def test_greedy_writing_is_the_argmax_of_the_whole_forward_pass(any_model, tokenizer):
    params, config = any_model
    prompt = ids(11, config.vocab_size)
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8))
    cache.append([prompt])
    tokens = write(cache, 12)[0]
    whole = np.asarray(forward(params, config, np.asarray([tokens], np.int32)))[0]
    assert tokens[len(prompt) :] == whole[len(prompt) - 1 : -1].argmax(-1).tolist()


@pytest.mark.parametrize("chunk", [1, 5, 64, 256])
def test_chunk_sizes_and_padding_do_not_change_the_logits(any_model, tokenizer, chunk):
    params, config = any_model
    tokens = ids(77, config.vocab_size)
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=128, prefill_chunk=chunk))
    cache.append([tokens])
    np.testing.assert_allclose(cache.logits[0], last_logits(any_model, tokens), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("fixed", [FIXED_PASS_TOKENS_ON_CPU, FIXED_PASS_TOKENS])
def test_no_plan_of_chunks_costs_less(fixed):
    sizes = (1, 8, 64, 512)
    least = [0]  # cost of reading n tokens, every plan tried
    for n in range(1, 1300):
        least.append(min(least[max(0, n - size)] + pass_cost(size, fixed) for size in sizes))
        plan = chunks(n, sizes, fixed)
        assert sum(real for real, _ in plan) == n
        assert all(real <= size and size in sizes for real, size in plan)
        assert sum(pass_cost(size, fixed) for _, size in plan) == least[n]
        assert all(real == size == 512 for real, size in plan[: n // 512])  # a shared prefix ends between these


@pytest.mark.parametrize("together", [False, True])
def test_rows_of_different_length_do_not_disturb_each_other(any_model, tokenizer, together):
    params, config = any_model
    rows = [ids(n, config.vocab_size, seed=n) for n in (3, 20, 9)]
    more = [ids(n, config.vocab_size, seed=50 + n) for n in (7, 0, 2)]
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8), 3, together=together)
    cache.append(rows)
    cache.append(more)
    for b in range(3):
        expected = last_logits(any_model, rows[b] + more[b])
        np.testing.assert_allclose(cache.logits[b], expected, atol=2e-4, rtol=1e-4)
    assert cache.tokens_read == 41
    # 1, 3 and 1 chunks and a single token, then a chunk of two rows; at once, as many as the longest row has.
    assert cache.passes == (3 + 1 + 1 if together else 5 + 1 + 2)


def test_short_prompts_are_read_in_one_pass(model, tokenizer):
    params, config = model
    sampler = Sampler(params, config, tokenizer, max_length=64)
    cache = DecodeCache(sampler, 8, together=True)
    cache.append([ids(n, config.vocab_size, seed=n) for n in range(18, 26)])
    assert cache.passes == 1
    cache.append([ids(20, config.vocab_size)] + [[]] * 7)
    assert cache.passes == 2
    cache.append([ids(20, config.vocab_size)] * 2 + [[]] * 6)  # eight rows of 64 for two of them would cost more
    assert cache.passes == 4
    np.testing.assert_allclose(cache.logits[1], last_logits(model, cache.tokens[1]), atol=2e-4, rtol=1e-4)


def test_a_rewound_text_goes_on_as_if_the_rest_had_never_been(any_model, tokenizer):
    params, config = any_model
    sampler = Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8)
    options = SamplingOptions(temperature=0.9)
    straight = DecodeCache(sampler)
    straight.append([ids(10, config.vocab_size)])
    straight.save()
    first = write(straight, 6, options, [5])
    for back in (10, 13):  # to the snapshot, and to somewhere after it
        straight.rewind([16])
        write(straight, 9, options, [6])
        straight.rewind([back])
        assert write(straight, 16 - back, options, [5]) == first
    np.testing.assert_allclose(straight.logits[0], last_logits(any_model, first[0]), atol=2e-4, rtol=1e-4)


def test_a_retry_reads_its_own_tokens_and_a_restart_reads_the_text_once(any_model, tokenizer):
    params, config = any_model
    sampler = Sampler(params, config, tokenizer, max_length=128, prefill_chunk=8)
    cache = DecodeCache(sampler)
    cache.append([ids(30, config.vocab_size)])
    cache.save()
    for attempt in range(3):
        cache.rewind([30])
        write(cache, 5, SamplingOptions(), [attempt])
    assert cache.tokens_read == 30 + 3 * 5
    again = DecodeCache(sampler)
    again.append(cache.tokens)
    assert again.tokens_read == 35
    np.testing.assert_allclose(again.logits, cache.logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "off"), [("bfloat16", 0.05), ("int8", 0.1)])
def test_a_smaller_cache_changes_the_logits_a_little(model, tokenizer, dtype, off):
    tokens = ids(60, model[1].vocab_size)
    cache = DecodeCache(Sampler(*model, tokenizer, max_length=128, cache_dtype=dtype))
    cache.append([tokens])
    want = last_logits(model, tokens)
    error = np.linalg.norm(cache.logits[0] - want) / np.linalg.norm(want)
    assert 0 < error < off


def test_a_row_begins_as_another_one_did(any_model, tokenizer):
    params, config = any_model
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8), 3)
    rows = [ids(20, config.vocab_size), ids(4, config.vocab_size, 1), ids(9, config.vocab_size, 2)]
    cache.append(rows)
    cache.save([0])
    cache.append([[7, 8], [], []])
    cache.fork(0, 2, 20)
    cache.append([[], [], [5]])
    assert cache.tokens == [[*rows[0], 7, 8], rows[1], [*rows[0], 5]]
    for b in range(3):
        expected = last_logits(any_model, cache.tokens[b])
        np.testing.assert_allclose(cache.logits[b], expected, atol=2e-4, rtol=1e-4)


def test_recurrent_models_refuse_to_rewind_before_the_snapshot(hybrid, tokenizer):
    cache = DecodeCache(Sampler(*hybrid, tokenizer, max_length=64))
    cache.append([ids(10, hybrid[1].vocab_size)])
    cache.save()
    with pytest.raises(ValueError, match="saved"):
        cache.rewind([9])


def test_a_text_may_outgrow_its_first_cache_but_not_the_maximum(model, tokenizer):
    params, config = model
    tokens = ids(50, config.vocab_size)
    cache = DecodeCache(Sampler(params, config, tokenizer, max_length=60, prefill_chunk=8, first_capacity=16))
    for at in range(0, 50, 10):
        cache.append([tokens[at : at + 10]])
    assert cache.capacity >= 60
    np.testing.assert_allclose(cache.logits[0], last_logits(model, tokens), atol=2e-4, rtol=1e-4)
    with pytest.raises(InputError, match="max_length"):
        cache.append([tokens[:11]])


def test_the_same_seed_writes_the_same_text_and_another_seed_another(model, tokenizer):
    sampler = Sampler(*model, tokenizer, max_length=64)

    def text(seed):
        cache = DecodeCache(sampler, 2)
        cache.append([[5, 6, 7], [9]])
        return write(cache, 10, SamplingOptions(temperature=1.0, top_k=50), [seed, seed + 1])

    assert text(1) == text(1)
    assert text(1)[0] != text(2)[0]


def test_repetition_penalty_looks_at_each_rows_own_text(model, tokenizer):
    cache = DecodeCache(Sampler(*model, tokenizer, max_length=64), 2)
    cache.append([[5, 6, 7], [5, 6, 7]])
    best = int(np.argmax(cache.logits[0]))
    cache.append([[best], [best]])
    cache.rewind([3, 4])
    cache.append([[5], []])  # row 1 has seen ``best``, row 0 has not
    sampled = cache.sample([SamplingOptions(0.0, repetition_penalty=1e6)] * 2, [0, 0])
    assert sampled.token[1] != best
    assert all(int(token) not in row for token, row in zip(sampled.token, cache.tokens, strict=True))


def test_a_mesh_changes_where_the_cache_lives_and_not_the_text(model, tokenizer):
    params, config = model
    mesh = make_mesh({"data": 2, "tensor": 2}, devices=jax.devices()[:4])
    texts, passes = [], []
    for where, together in ((None, False), (mesh, False), (mesh, True)):
        cache = DecodeCache(Sampler(params, config, tokenizer, max_length=64, mesh=where), 4, together=together)
        cache.append([ids(n, config.vocab_size, n) for n in (18, 19, 20, 17)])
        passes.append(cache.passes)
        texts.append(write(cache, 6))
    assert texts[0] == texts[1] == texts[2]
    assert passes == [4, 2, 1]  # one row, one of each of two groups, all rows


def test_a_vocabulary_larger_than_the_model_is_refused(model, tokenizer):
    params, config = model
    with pytest.raises(InputError, match="tokenizer"):
        Sampler(params, replace(config, vocab_size=100), tokenizer)
