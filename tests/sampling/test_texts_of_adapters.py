"""Texts of several adapters at once: each as it would be alone, and no text begins with what another adapter read."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling_models import ids
from small_adapters import drawn_adapter

from polaris_jax.checkpoint_sampler import sampling_mesh
from polaris_jax.errors import InputError
from polaris_jax.models import param_shardings
from polaris_jax.models.adapter_bank import add_adapters, open_adapter_for
from polaris_jax.models.lora import Lora
from polaris_jax.sampling import Engine, GenerationRequest, Sampler, SamplingOptions
from polaris_jax.sampling.decode_cache import DecodeCache

NAMES = ("poems", "letters")
GREEDY = SamplingOptions(temperature=0.0)


@pytest.fixture(scope="module")
def adapters(model, hybrid, tmp_path_factory):
    """The adapters of each of the two models, whose values are not read yet."""
    found = {}
    for _, config in (model, hybrid):
        root = tmp_path_factory.mktemp("adapters")
        loras = (Lora(4, 6.0), Lora(2, 5.0, ("mlp",)))
        folders = [drawn_adapter(config, lora, "base", root / str(i), seed=i) for i, lora in enumerate(loras)]
        found[config.model_type] = [open_adapter_for(config, "--adapter", str(folder)) for folder in folders]
    return found


def adapted(model, adapters, tokenizer, mesh=None, **options):
    params, config = model
    if mesh is not None:
        params = jax.device_put(params, param_shardings(config, mesh))
    params = add_adapters(params, config, adapters[config.model_type], jnp.float32, mesh)
    sizes = {"max_length": 256, "prefill_chunk": 8, "first_capacity": 256}
    return Sampler(params, config, tokenizer, adapters=NAMES, mesh=mesh, **sizes | options)


def asked(adapter, n=20, seed=0, tokens=10):
    return GenerationRequest(ids(n, seed), GREEDY, max_tokens=tokens, ignore_eos=True, adapter=adapter)


def test_a_mixed_batch_has_the_bits_of_lone_runs(any_model, adapters, tokenizer):
    """Every term is a product of one row's own factors: its shape does not depend on the other rows' adapters."""
    sampler = adapted(any_model, adapters, tokenizer)
    requests = [asked(name, n) for n, name in ((20, None), (9, "poems"), (20, "letters"))]
    together = Engine(sampler, 3, exact=True).generate(requests)
    texts = set()
    for request, got in zip(requests, together, strict=True):
        alone = Engine(sampler, 3, exact=True).generate([request])[0]
        assert got.tokens == alone.tokens
        assert (got.model_logprobs == alone.model_logprobs).all()
        texts.add(got.tokens)
    assert len(texts) == 3
    plain = Sampler(*any_model, tokenizer, max_length=256, prefill_chunk=8, first_capacity=256)
    without = Engine(plain, 3, exact=True).generate(requests[:1])[0]
    assert without.tokens == together[0].tokens
    assert (without.model_logprobs == together[0].model_logprobs).all()


@pytest.mark.parametrize("cache_tokens", [None, 1024])
def test_a_prefix_is_shared_only_with_texts_of_the_same_adapter(any_model, adapters, tokenizer, cache_tokens):
    sampler = adapted(any_model, adapters, tokenizer, cache_tokens=cache_tokens)
    engine = Engine(sampler, 2)
    first = engine.generate([asked("poems")])[0]
    assert engine.counts.reused == 0
    # The same prompt three times, one of them of the adapter that has read it: on the free slot, and at the same time.
    got = engine.generate([asked("letters"), asked("poems"), asked(None)])
    assert engine.counts.reused == 20
    assert got[1].tokens == first.tokens
    for completion, name in ((got[0], "letters"), (got[2], None)):
        assert completion.tokens == Engine(sampler, 1).generate([asked(name)])[0].tokens
    assert len({completion.tokens for completion in got}) == 3
    # While it is being read: the second waits for the first, the third reads it by its own adapter.
    engine = Engine(sampler, 3)
    long = [asked(name, n=60, seed=7, tokens=4) for name in ("poems", "poems", "letters")]
    one, two, three = engine.generate(long)
    assert (engine.counts.reused, engine.counts.prefilled) == (60, 120)
    assert one.tokens == two.tokens != three.tokens


def test_guesses_change_no_text_of_an_adapter(model, adapters, tokenizer):
    requests = [asked(name, tokens=24) for name in (*NAMES, None)]
    ahead = Engine(adapted(model, adapters, tokenizer, speculate=3), 3)
    texts = [completion.tokens for completion in ahead.generate(requests)]
    plain = Engine(adapted(model, adapters, tokenizer), 3)
    assert texts == [completion.tokens for completion in plain.generate(requests)]
    assert ahead.cache.ahead.right > 0


def test_rows_over_a_mesh_have_their_own_adapters(model, adapters, tokenizer):
    mesh = sampling_mesh({"data": 2, "context": 2, "tensor": 2}, model[1])
    cache, spread = (DecodeCache(adapted(model, adapters, tokenizer, on), 4) for on in (None, mesh))
    for one in (cache, spread):
        for row, adapter in enumerate((2, 0, 1, 2)):
            one.adapt(row, adapter)
        one.append([ids(n, n) for n in (11, 3, 17, 1)])
        one.fork(0, 1, 11)  # row 1 is now one of adapter 2
        one.append([[5], [5], [6], [7]])
    assert spread.groups == 2
    assert spread.adapters == cache.adapters == [2, 2, 1, 2]
    np.testing.assert_allclose(spread.logits, cache.logits, atol=1e-4 * float(jnp.abs(cache.logits).max()))
    np.testing.assert_allclose(cache.logits[0], cache.logits[1], atol=1e-4 * float(jnp.abs(cache.logits).max()))


def test_scores_of_a_prompt_are_those_of_its_adapter(model, adapters, tokenizer):
    sampler = adapted(model, adapters, tokenizer)
    requests = [replace(asked(name), prompt_logprobs=0, max_tokens=0) for name in (None, *NAMES)]
    engine = Engine(sampler, 3)
    scores = [completion.prompt.logprobs for completion in engine.generate(requests)]
    for request, one in zip(requests, scores, strict=True):
        cache = DecodeCache(sampler)
        cache.adapt(0, sampler.adapter_number(request.adapter))
        cache.append([request.prompt[:-1]])
        want = cache.logits[0] - jnp.log(jnp.exp(cache.logits[0]).sum())
        np.testing.assert_allclose(one[-1], want[request.prompt[-1]], atol=1e-4)
    assert len({float(one.sum()) for one in scores}) == 3


def test_a_row_keeps_its_adapter_while_it_has_tokens(model, adapters, tokenizer):
    sampler = adapted(model, adapters, tokenizer)
    cache = DecodeCache(sampler)
    cache.adapt(0, 1)
    cache.append([[3, 4, 5]])
    with pytest.raises(ValueError, match="adapter 1, not 2"):
        cache.adapt(0, 2)
    cache.rewind([0])
    cache.adapt(0, 2)
    cache.append([[3, 4, 5]])
    letters = np.asarray(cache.logits)
    cache.release()
    cache.renew()  # whose arrays know no adapter yet
    cache.append([[3, 4, 5]])
    assert (letters == cache.logits).all()


def test_without_adapters_nothing_is_added_to_the_programs(model, tokenizer):
    cache = DecodeCache(Sampler(*model, tokenizer, max_length=64))
    assert sorted(cache._state.cache) == ["blocks", "length"]
    with pytest.raises(InputError, match="which has none"):
        Engine(cache.sampler, 1).submit(asked("poems"))
