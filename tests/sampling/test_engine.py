"""Many requests at once are answered as each would be alone, and no prompt is read twice."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest
from sampling_models import ids

from polaris_jax.errors import InputError
from polaris_jax.sampling import Constraint, Engine, GenerationRequest, Sampler, SamplingOptions, grammar_tokenizer

CREATIVE = SamplingOptions(temperature=0.9, top_k=40, top_p=0.95, min_p=0.01, repetition_penalty=1.1)


def sampler_of(model, tokenizer, **kwargs):
    return Sampler(*model, tokenizer, **{"max_length": 256, "prefill_chunk": 8, "first_capacity": 256} | kwargs)


@pytest.fixture
def sampler(any_model, tokenizer):
    return sampler_of(any_model, tokenizer)


REQUESTS = [
    GenerationRequest(ids(n, n), CREATIVE, seed=n, max_tokens=m, ignore_eos=True)
    for n, m in ((3, 20), (17, 4), (40, 9), (5, 25), (9, 1), (23, 12))
]


def test_neighbours_slots_and_order_change_nothing(sampler):
    alone = [Engine(sampler, 1).generate([request])[0] for request in REQUESTS]
    order = (5, 2, 0, 4, 3, 1)
    together = Engine(sampler, 3).generate([REQUESTS[i] for i in order])
    for i, completion in zip(order, together, strict=True):
        assert completion.tokens == alone[i].tokens
        assert completion.finish_reason == "length"
        np.testing.assert_allclose(completion.logprobs, alone[i].logprobs, atol=1e-4)
        np.testing.assert_allclose(completion.model_logprobs, alone[i].model_logprobs, atol=1e-4)


def test_samples_of_one_prompt_read_it_once(sampler):
    engine = Engine(sampler, 4)
    prompt = ids(50)
    requests = [GenerationRequest(prompt, CREATIVE, seed=s, max_tokens=6, ignore_eos=True) for s in range(6)]
    got = engine.generate(requests)
    assert (engine.counts.prefilled, engine.counts.reused) == (50, 5 * 50)
    assert engine.cache.tokens_read <= 50 + 6 * 6
    fresh = [Engine(sampler, 1).generate([request])[0] for request in requests]
    assert [c.tokens for c in got] == [c.tokens for c in fresh]
    assert len({c.tokens for c in got}) > 1


def test_a_growing_transcript_is_never_read_twice(sampler):
    engine, text = Engine(sampler, 2), ids(30)
    for turn in range(5):
        completion = engine.generate([GenerationRequest(text, CREATIVE, seed=turn, max_tokens=7, ignore_eos=True)])[0]
        text = [*text, *completion.tokens, *ids(4, 100 + turn)]
    # Every token once, but the last one written in each turn is read with the next prompt.
    assert engine.cache.tokens_read == len(text) - 4 - 1
    assert engine.counts.reused > 0


def test_a_cancelled_request_makes_room_and_leaves_the_others_alone(sampler):
    engine = Engine(sampler, 1)
    first, second, third = (engine.submit(REQUESTS[i]) for i in (3, 0, 1))
    told = engine.step()
    assert engine.cancel(second)
    assert engine.cancel(first)
    assert not engine.cancel(second)
    while engine.busy:
        told += engine.step()
    ends = {event.request: event.finish_reason for event in told if event.finish_reason}
    assert ends == {first: "cancelled", second: "cancelled", third: "length"}
    tokens = tuple(event.token for event in told if event.request == third)
    assert tokens == Engine(sampler, 1).generate([REQUESTS[1]])[0].tokens


def test_new_weights_are_used_and_old_caches_forgotten(model, tokenizer):
    from sampling_models import random_model

    other = random_model(tokenizer.vocab_size, seed=1)
    engine = Engine(sampler_of(model, tokenizer), 2)
    before = engine.generate(REQUESTS[:2])
    engine.set_params(other[0])
    after = engine.generate(REQUESTS[:2])
    fresh = Engine(sampler_of(other, tokenizer), 2).generate(REQUESTS[:2])
    assert [c.tokens for c in after] == [c.tokens for c in fresh] != [c.tokens for c in before]
    engine.submit(REQUESTS[0])
    with pytest.raises(InputError, match="params"):
        engine.set_params(other[0])


def test_the_end_token_ends_the_text_and_is_told_apart(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 2)
    request = GenerationRequest(ids(5), SamplingOptions(0.0), max_tokens=9)
    plain = engine.generate([request])[0]
    ends = engine.generate(
        [GenerationRequest(ids(5), SamplingOptions(0.0), max_tokens=9, stop_token_ids=(plain.tokens[3],))]
    )[0]
    where = plain.tokens.index(plain.tokens[3])
    assert ends.tokens == plain.tokens[:where]
    assert (ends.stop_token, ends.finish_reason) == (plain.tokens[where], "stop")
    assert ends.stop_model_logprob == pytest.approx(plain.model_logprobs[where], abs=1e-5)
    assert plain.finish_reason == "length"
    assert plain.stop_token is None


def test_a_stop_string_across_tokens_is_cut_out(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 2)
    request = GenerationRequest(ids(5), SamplingOptions(1.0), seed=4, max_tokens=40, ignore_eos=True)
    text = engine.generate([request])[0].text
    stop = text[11:15]
    cut = engine.generate([replace(request, stop=("never to be seen", stop))])[0]
    assert cut.text == text[: text.index(stop)]
    assert cut.finish_reason == "stop"


def test_streamed_text_is_the_completions_text(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 3)
    numbers = [engine.submit(request) for request in REQUESTS]
    texts = dict.fromkeys(numbers, "")
    while engine.busy:
        for event in engine.step():
            texts[event.request] += event.text
    assert list(texts.values()) == [c.text for c in Engine(sampler_of(model, tokenizer), 2).generate(REQUESTS)]


def test_top_logprobs_name_the_models_own_best(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 1)
    got = engine.generate(
        [GenerationRequest(ids(5), SamplingOptions(0.0), max_tokens=4, top_logprobs=3, ignore_eos=True)]
    )[0]
    for token, logprob, top in zip(got.tokens, got.model_logprobs, got.top, strict=True):
        assert top[0] == (token, pytest.approx(logprob, abs=1e-5))
        assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
        assert len(top) == 3


def test_constraints_hold_beside_free_requests(sampler, tokenizer):
    vocabulary = grammar_tokenizer(tokenizer)
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    wanted = [
        GenerationRequest(
            ids(6), CREATIVE, seed=3, max_tokens=120, constraint=Constraint.json_schema(schema, vocabulary)
        ),
        GenerationRequest(
            ids(7), CREATIVE, seed=4, max_tokens=60, constraint=Constraint.regex(r"The [a-z]{3,6} sleeps\.", vocabulary)
        ),
        REQUESTS[0],
    ]
    engine = Engine(sampler, 3)
    made, sentence, free = engine.generate(wanted)
    assert set(json.loads(made.text)) == {"name", "age"}
    assert re.fullmatch(r"The [a-z]{3,6} sleeps\.", sentence.text)
    assert sentence.forced.any()
    assert sentence.finish_reason in ("complete", "stop")
    assert free.tokens == Engine(sampler, 1).generate([REQUESTS[0]])[0].tokens
    assert engine.counts.forced == made.forced.sum() + sentence.forced.sum()


def test_bad_constraints_and_requests_are_refused_by_name(model, tokenizer):
    vocabulary = grammar_tokenizer(tokenizer)
    with pytest.raises(InputError, match="regex"):
        Constraint.regex("(", vocabulary)
    with pytest.raises(InputError, match="json_schema"):
        Constraint.json_schema({"type": "nonsense"}, vocabulary)
    engine = Engine(sampler_of(model, tokenizer), 1)
    for field, request in {
        "prompt": GenerationRequest([]),
        "max_tokens": GenerationRequest([1], max_tokens=256),
        "stop": GenerationRequest([1], max_tokens=4, stop=("",)),
        "top_logprobs": GenerationRequest([1], max_tokens=4, top_logprobs=99),
    }.items():
        with pytest.raises(InputError, match=field):
            engine.submit(request)
    assert not engine.busy


def test_any_end_token_of_a_request_ends_a_text_that_satisfies_its_constraint(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 2)
    vocabulary, end = grammar_tokenizer(tokenizer), tokenizer.bos_id  # one that the grammar does not know
    wants_to_end = {end: 100.0}
    pattern = {
        "at once": "[a-z]*",
        "where it may": "[a-z]{9}[a-z]*",
    }
    made = engine.generate(
        [
            GenerationRequest(
                ids(5),
                SamplingOptions(0.0),
                max_tokens=40,
                stop_token_ids=(end,),
                constraint=Constraint.regex(regex, vocabulary),
                logit_bias=wants_to_end,
            )
            for regex in pattern.values()
        ]
    )
    assert [(one.finish_reason, one.stop_token) for one in made] == [("stop", end)] * 2
    assert made[0].text == ""
    # A token may be longer than a letter, so the last one may go a little beyond the ninth.
    assert re.fullmatch("[a-z]{9,}", made[1].text)
    assert len(made[1].tokens) <= 9


def test_min_tokens_hold_back_every_end_token_but_the_only_way_out(model, tokenizer):
    engine, end = Engine(sampler_of(model, tokenizer), 3), tokenizer.bos_id
    request = GenerationRequest(
        ids(5), SamplingOptions(0.0), max_tokens=20, stop_token_ids=(end,), logit_bias={end: 100.0}
    )
    word = Constraint.regex("ab", grammar_tokenizer(tokenizer))
    plain, late, short = engine.generate(
        [request, replace(request, min_tokens=7), replace(request, min_tokens=15, constraint=word)]
    )
    assert (len(plain.tokens), plain.stop_token) == (0, end)
    assert (len(late.tokens), late.stop_token) == (7, end)
    assert short.text == "ab"
    with pytest.raises(InputError, match="min_tokens"):
        engine.submit(replace(request, min_tokens=21))


def test_penalties_count_what_was_generated_and_neighbours_do_not_see_them(model, tokenizer):
    engine = Engine(sampler_of(model, tokenizer), 3)
    base = GenerationRequest(ids(5), SamplingOptions(0.0), max_tokens=30, ignore_eos=True)
    favourite = 7
    liked = replace(base, logit_bias={favourite: 60.0})
    alone, always, varied, free = engine.generate(
        [
            base,
            liked,
            replace(liked, options=SamplingOptions(0.0, presence_penalty=2.0)),
            replace(base, options=SamplingOptions(0.0, frequency_penalty=2.0)),
        ]
    )
    assert always.tokens == (favourite,) * 30
    assert varied.tokens == (favourite,) * 30  # two logits less, once, are not sixty
    assert len(set(free.tokens)) > len(set(alone.tokens))
    assert Engine(sampler_of(model, tokenizer), 1).generate([base])[0].tokens == alone.tokens
    for field, wrong in {"logit_bias": replace(base, logit_bias={10**6: 1.0})}.items():
        with pytest.raises(InputError, match=field):
            engine.submit(wrong)


def test_an_exact_engine_gives_the_bits_that_a_text_has_alone(any_model, tokenizer):
    """Also where prompts begin alike: the common part is shared in whole chunks, so that the rest is cut as alone."""
    start = ids(29)  # three chunks of 8 and a part
    prompts = [start, [*start, *ids(9, 1)], start, [*start[:20], *ids(11, 2)], [*start, *ids(9, 1)], ids(13, 3)]
    requests = [
        GenerationRequest(prompt, CREATIVE, seed=i, max_tokens=5, ignore_eos=True) for i, prompt in enumerate(prompts)
    ]
    engine = Engine(sampler_of(any_model, tokenizer), 2, exact=True)
    together = [engine.generate([request])[0] for request in requests[:4]] + engine.generate(requests[4:])
    for request, completion in zip(requests, together, strict=True):
        alone = Engine(sampler_of(any_model, tokenizer), 2, exact=True).generate([request])[0]
        assert completion.tokens == alone.tokens
        np.testing.assert_array_equal(completion.logprobs, alone.logprobs)
    assert engine.counts.reused > 0


def test_weights_and_caches_are_let_go_and_taken_again(model, tokenizer):
    sampler = sampler_of(model, tokenizer)
    engine, params = Engine(sampler, 2), sampler.params
    before = engine.generate([REQUESTS[1]])[0]
    cached = jax.tree.leaves(engine.cache.logits)
    engine.release()
    assert all(array.is_deleted() for array in cached)
    engine.set_params(params)
    assert engine.generate([REQUESTS[1]])[0].tokens == before.tokens
    engine.submit(REQUESTS[1])
    with pytest.raises(InputError, match="finish or cancel"):
        engine.release()
