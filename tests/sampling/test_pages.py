"""Texts that share one pool of pages: the bits of texts that have room of their own, in less room, and none too few."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling_models import ids, random_model

from polaris_jax.checkpoint_sampler import sampling_mesh
from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.models import init_params
from polaris_jax.ops.cached_attention import BLOCK
from polaris_jax.sampling import Engine, GenerationRequest, Sampler, SamplingOptions
from polaris_jax.sampling.decode_cache import DecodeCache
from polaris_jax.sampling.pages import PageTable, pages_of


@pytest.mark.parametrize("seed", range(4))
def test_no_page_is_lost_shared_while_it_is_written_or_given_twice(seed):
    """Random growth, forks and rewinds: against a plain dictionary of what every page holds."""
    draw = np.random.default_rng(seed)
    rows, most, pool = 5, 6 * BLOCK, 14 * BLOCK
    table = PageTable(rows, most, pool)
    pages, texts = {}, [[] for _ in range(rows)]  # page -> its tokens; row -> its text

    def read(row):
        return [token for page in table.table[row][: pages_of(len(texts[row]))] for token in pages[page]][
            : len(texts[row])
        ]

    full = 0
    for moment in range(400):
        row, kind = int(draw.integers(rows)), draw.integers(4)
        if kind < 2:
            more = draw.integers(1, 700)
            start = len(texts[row])
            if start + more > most:
                continue
            new = [(moment, n) for n in range(more)]
            lacking = table.lacking(row, row, start, start + more)
            before = table.table.copy()
            try:
                copy = table.cover(row, start, start + more)
            except InputError:
                full += 1
                assert lacking > 0
                np.testing.assert_array_equal(table.table, before)
                continue
            assert lacking <= 0
            if copy:
                pages[copy[1]] = list(pages[copy[0]])
            for n, token in enumerate(new):
                place = start + n
                page = table.table[row, place // BLOCK]
                assert page > 0
                pages[page] = [*pages.get(page, [])[: place % BLOCK], token]
            texts[row] = [*texts[row], *new]
        elif kind == 2:
            length = int(draw.integers(len(texts[row]) + 1))
            assert table.share(row, row, length) is None
            texts[row] = texts[row][:length]
        else:
            source = int(draw.integers(rows))
            length = int(draw.integers(len(texts[source]) + 1))
            if source == row or table.lacking(row, source, length, length) > 0:
                continue
            copy = table.share(source, row, length)
            if copy:
                pages[copy[1]] = list(pages[copy[0]])
            texts[row] = texts[source][:length]
        for other in range(rows):
            assert read(other) == texts[other]
        held = set(table.table[table.table > 0].tolist())
        assert table.free == table.pages - 1 - len(held)
    assert full > 0


def sampler_of(model, tokenizer, cache_tokens=None, **kwargs):
    sizes = {"max_length": 3 * BLOCK, "prefill_chunk": 64, "first_capacity": 3 * BLOCK}
    return Sampler(*model, tokenizer, **sizes | kwargs, cache_tokens=cache_tokens)


def sliding(tokenizer):
    _, config = random_model(tokenizer.vocab_size)
    config = replace(config, layer_types=("sliding_attention", "full_attention"), sliding_window=200)
    return init_params(config, jax.random.key(3)), config


@pytest.fixture(params=["llama", "int8", "sliding", "hybrid"])
def case(request, model, hybrid, tokenizer):
    """``(weights and config, dtype of the cache)``."""
    if request.param == "sliding":
        return sliding(tokenizer), None
    return (hybrid if request.param == "hybrid" else model), ("int8" if request.param == "int8" else None)


def test_texts_in_pages_have_the_bits_of_texts_with_room_of_their_own(case, tokenizer):
    """Long and short texts beside each other; forks at and inside a page, rewinds into a shared one, and on again."""
    weights, dtype = case
    recurrent = weights[1].recurrent
    own = DecodeCache(sampler_of(weights, tokenizer, cache_dtype=dtype), 4)
    paged = DecodeCache(sampler_of(weights, tokenizer, 9 * BLOCK, cache_dtype=dtype), 4)
    steps = [
        lambda cache: cache.append([ids(BLOCK + 90, 1), ids(30, 2), ids(2 * BLOCK, 3), []]),
        lambda cache: cache.save(),
        lambda cache: cache.append([[7], [8], [9], []]),
        lambda cache: cache.fork(0, 3, BLOCK + 90),
        lambda cache: cache.append([ids(5, 4), ids(500, 5), [11], ids(70, 6)]),
        lambda cache: cache.rewind([BLOCK + 90, 30, 2 * BLOCK, len(cache.tokens[3])]),
        lambda cache: cache.append([[3], [4], [5], [6]]),
        lambda cache: cache.fork(2, 1, 0 if recurrent else BLOCK + 17),
        lambda cache: cache.append([[21], [22], [23], [24]]),
        # Into the page that two rows share: it is copied before it is written.
        lambda cache: cache.rewind([0 if recurrent else 100, *map(len, cache.tokens[1:])]),
        lambda cache: cache.append([ids(40, 8), [30], [31], [32]]),
    ]
    for number, step in enumerate(steps):
        step(own)
        step(paged)
        assert own.tokens == paged.tokens
        real = [b for b, row in enumerate(own.tokens) if row]
        np.testing.assert_array_equal(np.asarray(paged.logits)[real], np.asarray(own.logits)[real], err_msg=str(number))
    assert paged.pages.free < 9
    paged.rewind([0] * 4)
    assert paged.pages.free == 9


def test_a_fork_takes_a_page_only_for_what_is_partly_filled(model, tokenizer):
    cache = DecodeCache(sampler_of(model, tokenizer, 12 * BLOCK), 4)
    cache.append([ids(2 * BLOCK + 10), [], [], []])
    free = cache.pages.free
    for target in (1, 2, 3):
        cache.fork(0, target, 2 * BLOCK + 9)
    assert cache.pages.free == free - 3
    keys = jax.tree.leaves(cache._state.cache["blocks"])[0]
    assert keys.shape[1] == 13  # twelve pages and nobody's, where four texts of their own had twelve


CREATIVE = SamplingOptions(temperature=0.9, top_k=20)
REQUESTS = [
    GenerationRequest(ids(n, n), CREATIVE, seed=n, max_tokens=m, ignore_eos=True)
    for n, m in ((BLOCK + 60, 30), (20, 9), (40, BLOCK), (700, 20), (9, 5), (2 * BLOCK, 12))
]


@pytest.mark.parametrize("speculate", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_requests_wait_for_pages_and_write_what_they_would_have_written(model, tokenizer, speculate):
    wanted = Engine(sampler_of(model, tokenizer, speculate=speculate), 6, exact=True).generate(REQUESTS)
    engine = Engine(sampler_of(model, tokenizer, 4 * BLOCK, speculate=speculate), 6, exact=True)
    numbers = [engine.submit(request) for request in REQUESTS]
    tokens = {number: [] for number in numbers}
    most = waited = 0
    while engine.busy:
        for event in engine.step():
            assert event.finish_reason in (None, "length"), event
            if event.token is not None:
                tokens[event.request].append(event.token)
        most = max(most, engine.active)
        waited += engine.active < 6 and bool(engine._waiting)
        assert engine.cache.pages.free >= 0
    assert [tuple(tokens[number]) for number in numbers] == [completion.tokens for completion in wanted]
    assert 1 < most < 6
    assert waited


def test_one_prompt_of_many_requests_lies_in_its_pages_once(model, tokenizer):
    prompt = ids(2 * BLOCK + 40)
    engine = Engine(sampler_of(model, tokenizer, 6 * BLOCK), 4)
    done = engine.generate(
        [GenerationRequest(prompt, CREATIVE, seed=s, max_tokens=6, ignore_eos=True) for s in range(4)]
    )
    assert engine.counts.reused == 3 * len(prompt)  # four copies would have needed twelve pages
    alone = Engine(sampler_of(model, tokenizer), 4)
    assert [c.tokens for c in done] == [
        c.tokens
        for c in alone.generate(
            [GenerationRequest(prompt, CREATIVE, seed=s, max_tokens=6, ignore_eos=True) for s in range(4)]
        )
    ]


def test_weights_are_let_go_and_taken_again_with_empty_pages(model, tokenizer):
    params, _ = model
    engine = Engine(sampler_of(model, tokenizer, 3 * BLOCK), 2)
    first = engine.generate([REQUESTS[1]])[0]
    engine.release()
    engine.set_params(jax.tree.map(jnp.copy, params))
    assert engine.cache.pages.free == 3
    assert engine.generate([REQUESTS[1]])[0].tokens == first.tokens


def test_tensor_spreads_the_heads_of_a_page(model, tokenizer):
    mesh = sampling_mesh({"tensor": 2}, model[1])
    caches = [DecodeCache(sampler_of(model, tokenizer, 4 * BLOCK, mesh=where), 2) for where in (None, mesh)]
    for cache in caches:
        cache.append([ids(BLOCK + 20), ids(9)])
        cache.fork(0, 1, BLOCK + 3)
        cache.append([[5], [6]])
    np.testing.assert_allclose(caches[0].logits, caches[1].logits, atol=2e-4, rtol=1e-4)
    assert "tensor" in str(jax.tree.leaves(caches[1]._state.cache["blocks"])[0].sharding.spec)


def test_too_little_room_and_other_meshes_are_refused(model, tokenizer):
    with pytest.raises(InputError, match="longest text, 1536 tokens"):
        sampler_of(model, tokenizer, 2 * BLOCK)
    with pytest.raises(InputError, match="not spread over context"):
        sampler_of(model, tokenizer, 3 * BLOCK, mesh=sampling_mesh({"context": 2}, model[1]))
    cache = DecodeCache(sampler_of(model, tokenizer, 3 * BLOCK), 2)
    cache.append([ids(2 * BLOCK), ids(9)])
    with pytest.raises(InputError, match="is full"):
        cache.append([[], ids(600)])


@pytest.mark.parametrize(
    ("flags", "says"), [(["--cache-tokens=100"], "longest text, 256 tokens"), (["--cache-tokens=0"], "--cache-tokens")]
)
def test_the_flag_is_refused_in_one_line(checkpoint, capsys, flags, says):
    pytest.importorskip("starlette", reason="pip install 'polaris-jax[serve]'")
    try:
        code = main(["serve", "--checkpoint", str(checkpoint), "--port", "0", "--window", "256", *flags])
    except SystemExit as end:
        code = end.code
    assert code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert says in said[0]
