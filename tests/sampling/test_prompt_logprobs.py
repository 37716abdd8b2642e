"""The log-probabilities of a prompt are those of a direct forward pass, whatever its chunks and neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampling_models import ids, small_sampler

from polaris_jax.errors import InputError
from polaris_jax.models import Decoder
from polaris_jax.sampling import Constraint, Engine, GenerationRequest, SamplingOptions, grammar_tokenizer

GREEDY = SamplingOptions(0.0)


def direct(model, tokens):
    """``[T - 1, V]`` log-probabilities of the token after each place."""
    params, config = model
    logits = Decoder(config, params)(jnp.asarray([tokens]))
    return np.asarray(jax.nn.log_softmax(logits[0, :-1].astype(jnp.float32)))


@pytest.mark.parametrize("kind", ["model", "hybrid"])
def test_they_equal_a_direct_forward_pass(kind, request, tokenizer):
    model = request.getfixturevalue(kind)
    engine = Engine(small_sampler(model, tokenizer), 3)
    prompts = [ids(n, n) for n in (1, 2, 9, 70, 150)]
    requests = [GenerationRequest(p, GREEDY, max_tokens=2, ignore_eos=True, prompt_logprobs=3) for p in prompts]
    plain = GenerationRequest(prompts[3], GREEDY, max_tokens=2, ignore_eos=True)
    *scored, unscored = engine.generate([*requests, plain])
    assert unscored.prompt is None
    assert unscored.tokens == scored[3].tokens
    for prompt, found in zip(prompts, scored, strict=True):
        assert len(found.prompt.logprobs) == len(found.prompt.ranks) == len(found.prompt.top) == len(prompt) - 1
        if len(prompt) == 1:
            continue
        want = direct(model, prompt)
        own = want[np.arange(len(prompt) - 1), prompt[1:]]
        np.testing.assert_allclose(found.prompt.logprobs, own, atol=2e-4)
        for place, (top, rank) in enumerate(zip(found.prompt.top, found.prompt.ranks, strict=True)):
            best = np.sort(want[place])[::-1]
            np.testing.assert_allclose([value for _, value in top], best[:3], atol=2e-4)
            assert best[rank - 1] == pytest.approx(own[place], abs=4e-4)


def test_a_prompt_may_be_scored_without_a_token_being_written(model, tokenizer):
    engine = Engine(small_sampler(model, tokenizer), 2)
    prompt = ids(40)
    first, again = (engine.generate([GenerationRequest(prompt, max_tokens=0, prompt_logprobs=0)])[0] for _ in range(2))
    assert (first.tokens, first.finish_reason, engine.counts.sampled) == ((), "length", 0)
    assert first.prompt.top == ((),) * 39
    np.testing.assert_array_equal(first.prompt.logprobs, again.prompt.logprobs)
    assert engine.counts.reused == 0  # a cached token has no score left
    request = GenerationRequest([*prompt, 5, 6], GREEDY, max_tokens=1, ignore_eos=True)
    longer = engine.generate([request])[0]
    assert engine.counts.reused >= 39  # but others may begin with what was scored
    fresh = Engine(small_sampler(model, tokenizer), 1)
    assert fresh.generate([request])[0].tokens == longer.tokens


@pytest.mark.parametrize("regex", ["", "sea"])
def test_a_grammar_that_leaves_no_choice_does_not_end_a_request_before_its_prompt_is_scored(model, tokenizer, regex):
    sampler = small_sampler(model, tokenizer)
    prompt = ids(150)
    options = {"ignore_eos": True, "max_tokens": 8, "prompt_logprobs": 0}
    bound = GenerationRequest(
        prompt, GREEDY, constraint=Constraint.regex(regex, grammar_tokenizer(tokenizer)), **options
    )
    found, free = Engine(sampler, 2).generate([bound, GenerationRequest(prompt, GREEDY, **options)])
    assert found.text == regex
    np.testing.assert_array_equal(found.prompt.logprobs, free.prompt.logprobs)


def test_no_tokens_at_all_need_prompt_logprobs(model, tokenizer):
    with pytest.raises(InputError, match="max_tokens"):
        Engine(small_sampler(model, tokenizer), 1).submit(GenerationRequest([5], max_tokens=0))
