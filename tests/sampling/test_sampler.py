"""Reading in chunks, one token at a time, padded or rewound gives what one plain forward pass gives."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.models.decoder import logits as forward
from polaris_jax.sampling.options import SamplingOptions
from polaris_jax.sampling.sampler import Sampler
from polaris_jax.sampling.session import chunks
from polaris_jax.sharding import make_mesh

GREEDY = SamplingOptions(temperature=0.0)


@pytest.fixture(params=["model", "hybrid"])
def any_model(request):
    return request.getfixturevalue(request.param)


def ids(n, vocab, seed=0):
    return np.random.default_rng(seed).integers(0, vocab, n).tolist()


def last_logits(model, tokens):
    params, config = model
    return np.asarray(forward(params, config, np.asarray([tokens], np.int32)))[0, -1]


def write(session, n, options=GREEDY, seeds=None):
    for _ in range(n):
        batch = len(session.tokens)
        drawn = session.draw([options] * batch, seeds or [0] * batch)
        session.append(drawn.token[:, None].tolist())
    return [list(row) for row in session.tokens]


def test_greedy_writing_is_the_argmax_of_the_whole_forward_pass(any_model, tokenizer):
    params, config = any_model
    prompt = ids(11, config.vocab_size)
    session = Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8).start()
    session.append([prompt])
    tokens = write(session, 12)[0]
    whole = np.asarray(forward(params, config, np.asarray([tokens], np.int32)))[0]
    assert tokens[len(prompt):] == whole[len(prompt) - 1 : -1].argmax(-1).tolist()


@pytest.mark.parametrize("chunk", [1, 5, 64, 256])
def test_chunk_sizes_and_padding_do_not_change_the_logits(any_model, tokenizer, chunk):
    params, config = any_model
    tokens = ids(77, config.vocab_size)
    session = Sampler(params, config, tokenizer, max_length=128, prefill_chunk=chunk).start()
    session.append([tokens])
    np.testing.assert_allclose(session.logits[0], last_logits(any_model, tokens), atol=2e-4, rtol=1e-4)


def test_chunk_plans_cover_every_token_once_with_little_padding():
    sizes = (1, 8, 64, 256)
    for n in range(1, 700):
        plan = chunks(n, sizes)
        assert sum(real for real, _ in plan) == n
        assert all(real <= size and size in sizes for real, size in plan)
        assert sum(size for _, size in plan) < 4 * n + 1
        assert len(plan) <= n // 256 + 8


def test_rows_of_different_length_do_not_disturb_each_other(any_model, tokenizer):
    params, config = any_model
    rows = [ids(n, config.vocab_size, seed=n) for n in (3, 20, 9)]
    more = [ids(n, config.vocab_size, seed=50 + n) for n in (7, 0, 2)]
    session = Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8).start(batch=3)
    session.append(rows)
    session.append(more)
    for b in range(3):
        expected = last_logits(any_model, rows[b] + more[b])
        np.testing.assert_allclose(session.logits[b], expected, atol=2e-4, rtol=1e-4)


def test_a_rewound_text_goes_on_as_if_the_rest_had_never_been(any_model, tokenizer):
    params, config = any_model
    sampler = Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8)
    options = SamplingOptions(temperature=0.9)
    straight = sampler.start()
    straight.append([ids(10, config.vocab_size)])
    straight.mark()
    first = write(straight, 6, options, [5])
    for back in (10, 13):  # to the mark, and to somewhere behind it
        straight.rewind([16])
        write(straight, 9, options, [6])
        straight.rewind([back])
        assert write(straight, 16 - back, options, [5]) == first
    np.testing.assert_allclose(straight.logits[0], last_logits(any_model, first[0]), atol=2e-4, rtol=1e-4)


def test_a_retry_reads_its_own_tokens_and_a_restart_reads_the_text_once(any_model, tokenizer):
    params, config = any_model
    sampler = Sampler(params, config, tokenizer, max_length=128, prefill_chunk=8)
    session = sampler.start()
    session.append([ids(30, config.vocab_size)])
    session.mark()
    for attempt in range(3):
        session.rewind([30])
        write(session, 5, SamplingOptions(), [attempt])
    assert session.read == 30 + 3 * 5
    again = sampler.start()
    again.append(session.tokens)
    assert again.read == 35
    np.testing.assert_allclose(again.logits, session.logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "off"), [("bfloat16", 0.05), ("int8", 0.1)])
def test_a_smaller_cache_changes_the_logits_a_little(model, tokenizer, dtype, off):
    tokens = ids(60, model[1].vocab_size)
    session = Sampler(*model, tokenizer, max_length=128, cache_dtype=dtype).start()
    session.append([tokens])
    want = last_logits(model, tokens)
    error = np.linalg.norm(session.logits[0] - want) / np.linalg.norm(want)
    assert 0 < error < off


def test_a_row_begins_as_another_one_did(any_model, tokenizer):
    params, config = any_model
    session = Sampler(params, config, tokenizer, max_length=64, prefill_chunk=8).start(3)
    rows = [ids(20, config.vocab_size), ids(4, config.vocab_size, 1), ids(9, config.vocab_size, 2)]
    session.append(rows)
    session.mark([0])
    session.append([[7, 8], [], []])
    session.fork(0, 2, 20)
    session.append([[], [], [5]])
    assert session.tokens == [[*rows[0], 7, 8], rows[1], [*rows[0], 5]]
    for b in range(3):
        expected = last_logits(any_model, session.tokens[b])
        np.testing.assert_allclose(session.logits[b], expected, atol=2e-4, rtol=1e-4)


def test_recurrent_models_refuse_to_go_back_behind_the_mark(hybrid, tokenizer):
    session = Sampler(*hybrid, tokenizer, max_length=64).start()
    session.append([ids(10, hybrid[1].vocab_size)])
    session.mark()
    with pytest.raises(ValueError, match="marked"):
        session.rewind([9])


def test_a_text_may_outgrow_its_first_cache_but_not_the_maximum(model, tokenizer):
    params, config = model
    tokens = ids(50, config.vocab_size)
    session = Sampler(params, config, tokenizer, max_length=60, prefill_chunk=8, first_capacity=16).start()
    for at in range(0, 50, 10):
        session.append([tokens[at : at + 10]])
    assert session.capacity >= 60
    np.testing.assert_allclose(session.logits[0], last_logits(model, tokens), atol=2e-4, rtol=1e-4)
    with pytest.raises(InputError, match="max_length"):
        session.append([tokens[:11]])


def test_the_same_seed_writes_the_same_text_and_another_seed_another(model, tokenizer):
    sampler = Sampler(*model, tokenizer, max_length=64)

    def text(seed):
        session = sampler.start(batch=2)
        session.append([[5, 6, 7], [9]])
        return write(session, 10, SamplingOptions(temperature=1.0, top_k=50), [seed, seed + 1])

    assert text(1) == text(1)
    assert text(1)[0] != text(2)[0]


def test_repetition_penalty_looks_at_each_rows_own_text(model, tokenizer):
    session = Sampler(*model, tokenizer, max_length=64).start(batch=2)
    session.append([[5, 6, 7], [5, 6, 7]])
    best = int(np.argmax(session.logits[0]))
    session.append([[best], [best]])
    session.rewind([3, 4])
    session.append([[5], []])  # row 1 has seen ``best``, row 0 has not
    drawn = session.draw([SamplingOptions(0.0, repetition_penalty=1e6)] * 2, [0, 0])
    assert drawn.token[1] != best
    assert all(int(token) not in row for token, row in zip(drawn.token, session.tokens, strict=True))


def test_a_mesh_changes_where_the_cache_lives_and_not_the_text(model, tokenizer):
    params, config = model
    mesh = make_mesh({"data": 2, "tensor": 2}, devices=jax.devices()[:4])
    texts = []
    for where in (None, mesh):
        session = Sampler(params, config, tokenizer, max_length=64, mesh=where).start(batch=2)
        session.append([ids(9, config.vocab_size), ids(5, config.vocab_size, 1)])
        texts.append(write(session, 6))
    assert texts[0] == texts[1]


def test_a_vocabulary_larger_than_the_model_is_refused(model, tokenizer):
    params, config = model
    with pytest.raises(InputError, match="tokenizer"):
        Sampler(params, replace(config, vocab_size=100), tokenizer)
