"""Guessed tokens change no text: with guesses, right or wrong, its bits are those without."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from sampling_models import PROMPT, TINY, ids

from polaris_jax.checkpoint_sampler import open_sampler
from polaris_jax.cli import main
from polaris_jax.errors import InputError
from polaris_jax.models import Decoder, save_pretrained
from polaris_jax.sampling import (
    Constraint,
    DecodeCache,
    DryOptions,
    Engine,
    GenerationRequest,
    Sampler,
    SamplingOptions,
    grammar_tokenizer,
    write_book,
)
from polaris_jax.sampling.prompt_lookup import LONGEST_MATCH, PromptLookup, following
from polaris_jax.sharding import make_mesh

GREEDY = SamplingOptions(temperature=0.0)
CREATIVE = SamplingOptions(temperature=0.9, top_k=40, top_p=0.95, min_p=0.01, repetition_penalty=1.1)
FICTION = SamplingOptions(
    temperature=1.1,
    typical_p=0.9,
    xtc_probability=0.5,
    dry=DryOptions(0.8),
    frequency_penalty=0.3,
    presence_penalty=0.2,
)


def sampler_of(model, tokenizer, speculate=4, **more):
    sizes = {"max_length": 256, "prefill_chunk": 8, "first_capacity": 256}
    return Sampler(*model, tokenizer, speculate=speculate, **sizes | more)


class Oracle:
    """Guesses from texts that are known already, some of them wrong; else nothing."""

    def __init__(self, texts, spoil=0):
        self.texts, self.spoil, self.rows = texts, spoil, {}

    def extend(self, row, tokens):
        self.rows.setdefault(row, []).extend(int(token) for token in tokens)

    def copy(self, source, target, length):
        self.rows[target] = self.rows.get(source, [])[:length]

    def guess(self, row, unread, most):
        past = [*self.rows[row], *unread]
        for text in self.texts:
            if list(text[: len(past)]) == past:
                guess = list(text[len(past) : len(past) + most])
                return [token + (self.spoil and (len(past) + i) % self.spoil == 0) for i, token in enumerate(guess)]
        return []


def same(one, other):
    """Completions with the same bits."""
    assert [c.tokens for c in one] == [c.tokens for c in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.logprobs, b.logprobs)
        np.testing.assert_array_equal(a.model_logprobs, b.model_logprobs)
        assert (a.text, a.finish_reason, a.stop_token, a.top) == (b.text, b.finish_reason, b.stop_token, b.top)


def served(sampler, requests, lookup=None, slots=2):
    """The completions and the engine; requests are functions, because a constraint is used once."""
    engine = Engine(sampler, slots, exact=True)
    if lookup is not None:
        engine.cache.ahead.lookup = lookup
    return engine.generate([make() for make in requests]), engine


def free(prompt, options, seed, **more):
    return lambda: GenerationRequest(prompt, options, seed=seed, **{"max_tokens": 40, "ignore_eos": True} | more)


@pytest.fixture
def requests(tokenizer):
    """Every kind of sampling and of end that the engine knows, in two slots."""
    vocabulary = grammar_tokenizer(tokenizer)
    loop = ids(6) * 4
    story = Constraint.regex(r"(The [a-z]{2,5} sleeps\. ){3}", vocabulary)
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}, "required": ["name"]}
    record = Constraint.json_schema(schema | {"additionalProperties": False}, vocabulary)
    return [
        free(loop, GREEDY, 0),
        free(loop, CREATIVE, 1, top_logprobs=3),
        free(ids(9), FICTION, 2),
        free(
            ids(20, 3), SamplingOptions(1.0), 3, logit_bias={7: 4.0}, min_tokens=5, stop_token_ids=tuple(range(8, 80))
        ),
        lambda: GenerationRequest(ids(5), CREATIVE, seed=4, max_tokens=90, constraint=story.copy()),
        lambda: GenerationRequest(ids(6), GREEDY, max_tokens=60, constraint=record.copy()),
        free(loop, SamplingOptions(1.0), 5, max_tokens=256 - len(loop)),  # to the cache's end
    ]


def whole_texts(requests, completions):
    """Prompt and generated tokens, the end token too."""
    ends = [[] if c.stop_token is None else [c.stop_token] for c in completions]
    return [[*make().prompt, *c.tokens, *end] for make, c, end in zip(requests, completions, ends, strict=True)]


def test_no_bit_depends_on_what_is_guessed(model, tokenizer, requests):
    sampler = sampler_of(model, tokenizer)
    without, plain = served(sampler, requests, Oracle([]))
    assert (plain.cache.ahead.guessed, plain.cache.ahead.right) == (0, 0)
    texts = whole_texts(requests, without)
    by_lookup, looked = served(sampler, requests)
    by_oracle, knew = served(sampler, requests, Oracle(texts))
    by_liar, lied = served(sampler, requests, Oracle(texts, spoil=3))
    for found in (by_lookup, by_oracle, by_liar):
        same(without, found)
    assert knew.cache.passes < 0.5 * plain.cache.passes
    assert looked.cache.passes < plain.cache.passes
    for engine in (looked, lied):
        assert 0 < engine.cache.ahead.right < engine.cache.ahead.guessed
    assert {c.finish_reason for c in without} == {"length", "stop", "complete"}
    assert any(c.forced.any() for c in without)
    # One token per pass reads the same texts: their last bits may differ, these tokens do not.
    one_by_one, _ = served(sampler_of(model, tokenizer, speculate=0), requests)
    assert [c.tokens for c in one_by_one] == [c.tokens for c in without]
    for a, b in zip(one_by_one, without, strict=True):
        np.testing.assert_allclose(a.model_logprobs, b.model_logprobs, atol=1e-3)


@pytest.mark.parametrize("speculate", [1, 3, 8])
def test_a_stop_inside_a_guess_ends_the_text_there(model, tokenizer, speculate):
    sampler = sampler_of(model, tokenizer, speculate=speculate)
    whole = free(ids(5), SamplingOptions(1.0), 4)
    (full,), _ = served(sampler, [whole], Oracle([]))
    known = Oracle(whole_texts([whole], [full]))
    for at in range(1, 12):
        by_token = free(ids(5), SamplingOptions(1.0), 4, stop_token_ids=(full.tokens[at],))
        by_text = free(ids(5), SamplingOptions(1.0), 4, stop=(full.text[at : at + 3],))
        for request in (by_token, by_text, free(ids(5), SamplingOptions(1.0), 4, max_tokens=at)):
            known.rows = {}
            (guessed,), _ = served(sampler, [request], known)
            same(served(sampler, [request], Oracle([]))[0], [guessed])
            assert guessed.text == full.text[: len(guessed.text)]


def test_neighbours_and_refills_change_nothing(model, tokenizer, requests):
    sampler = sampler_of(model, tokenizer)
    alone = [served(sampler, [request], slots=2)[0][0] for request in requests]
    engine = Engine(sampler, 2)  # not exact: prompts of both slots are read together
    together = engine.generate([make() for make in requests])
    assert [c.tokens for c in together] == [c.tokens for c in alone]
    assert engine.cache.ahead.right > 0


def test_a_cancelled_text_leaves_its_neighbour_alone(model, tokenizer):
    sampler = sampler_of(model, tokenizer)
    request = free(ids(6) * 4, GREEDY, 0)
    engine = Engine(sampler, 2, exact=True)
    first, second = engine.submit(request()), engine.submit(replace(request(), seed=9, options=CREATIVE))
    told = engine.step() + engine.step()
    assert engine.cancel(second)
    while engine.busy:
        told += engine.step()
    tokens = tuple(event.token for event in told if event.request == first)
    assert tokens == served(sampler, [request], Oracle([]))[0][0].tokens


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_cache_is_as_after_reading_without_guesses(model, tokenizer, dtype):
    """Logits, lengths and what is read after rewinding, when guesses were right, wrong and dropped."""
    sampler = sampler_of(model, tokenizer, cache_dtype=dtype, max_length=64, first_capacity=64)
    loop = ids(5) * 5
    guessing, plain = DecodeCache(sampler), DecodeCache(sampler)
    plain.ahead.lookup = Oracle([])
    for cache in (guessing, plain):
        cache.append([loop])
    for new in ([loop[0]], [loop[1]], [loop[2], loop[3]], [7], [loop[0]], loop[1:4], ids(9, 1), loop[:2], [loop[2]]):
        for cache in (guessing, plain):
            cache.append_generated([new])
        np.testing.assert_array_equal(guessing.logits, plain.logits)
        assert guessing.tokens == plain.tokens
        assert guessing.tokens_read == plain.tokens_read
    assert 0 < guessing.ahead.right < guessing.ahead.guessed
    assert guessing.passes < plain.passes
    for cache in (guessing, plain):
        cache.rewind([28])
        cache.append_generated([[loop[3]]])
    np.testing.assert_array_equal(guessing.logits, plain.logits)
    for cache in (guessing, plain):  # the last tokens that fit
        for token in (loop * 3)[4 : 4 + 64 - cache.lengths[0]]:
            cache.append_generated([[token]])
    np.testing.assert_array_equal(guessing.logits, plain.logits)
    with pytest.raises(InputError, match="max_length"):
        guessing.append_generated([[3]])


def test_a_plan_is_the_same_with_and_without_guesses(model, tokenizer, tmp_path, monkeypatch):
    def book(name, speculate):
        sampler = Sampler(
            *model, tokenizer, max_length=4096, prefill_chunk=64, first_capacity=2048, speculate=speculate
        )
        return write_book(sampler, PROMPT, TINY, seed=3, out_dir=tmp_path / name, until="book_plan").transcript

    guessed = book("guessed", 6)
    with monkeypatch.context() as patch:
        patch.setattr(PromptLookup, "guess", lambda self, row, unread, most: [])
        assert book("plain", 6) == guessed
    # A book is resumed with the number of guesses it began with: another width may round otherwise.
    with pytest.raises(InputError, match="speculate"):
        book("guessed", 0)


def test_over_a_mesh(model, tokenizer):
    mesh = make_mesh({"data": 2, "tensor": 2}, devices=jax.devices()[:4])
    requests = [free(ids(6, seed) * 4, options, seed) for seed, options in enumerate((GREEDY, CREATIVE, GREEDY))]
    sampler = sampler_of(model, tokenizer, mesh=mesh)
    without, _ = served(sampler, requests, Oracle([]))
    found, engine = served(sampler, requests)
    same(without, found)
    assert engine.cache.ahead.right > 0
    alone, _ = served(sampler_of(model, tokenizer), requests)
    assert [c.tokens for c in alone] == [c.tokens for c in found]


def test_what_cannot_be_speculated_is_refused(model, hybrid, tokenizer):
    with pytest.raises(InputError, match=r"speculate.*recurrent"):
        sampler_of(hybrid, tokenizer)
    for number in (-1, 16):
        with pytest.raises(InputError, match="speculate"):
            sampler_of(model, tokenizer, speculate=number)


def test_the_flag_reaches_the_sampler_or_is_refused_in_one_line(checkpoint, hybrid, tokenizer, tmp_path, capsys):
    assert open_sampler(checkpoint, 64, speculate=5).speculate == 5
    params, config = hybrid
    save_pretrained(Decoder(config, params), str(tmp_path / "hybrid"))
    tokenizer.save(str(tmp_path / "hybrid"))
    ask = ["write", "--prompt=A book.", f"--out={tmp_path / 'book'}", "--speculate=3"]
    for more, says in (
        ([f"--checkpoint={tmp_path / 'hybrid'}"], "recurrent layers"),
        ([f"--checkpoint={checkpoint}", "--speculate=99"], "use 0 (off) to 15"),
        (["--server=http://127.0.0.1:9"], "is for a checkpoint"),
    ):
        assert main([*ask, *more]) == 2
        told = capsys.readouterr().err.strip()
        assert "--speculate" in told
        assert says in told
        assert "\n" not in told
        assert not (tmp_path / "book").exists()


def plain_following(text, most):
    """``following`` by trying every place and every length."""
    best = 0, 0
    for end in range(1, len(text)):
        length = 0
        while length < min(end, LONGEST_MATCH) and text[end - 1 - length] == text[-1 - length]:
            length += 1
        if length and length >= best[0]:
            best = length, end
    return text[best[1] : best[1] + most] if best[0] else []


def test_guesses_follow_the_latest_of_the_longest_matches():
    assert following(np.asarray([1, 2, 3, 9, 2, 3, 8, 1, 2, 3]), 3).tolist() == [9, 2, 3]
    assert following(np.asarray([2, 3, 9, 2, 3, 8, 2, 3]), 2).tolist() == [8, 2]
    assert following(np.asarray([1, 2, 3]), 4).tolist() == []
    assert following(np.asarray([5, 5]), 4).tolist() == [5]
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = rng.integers(0, 3, rng.integers(0, 90)).tolist() * rng.integers(1, 3)
        assert following(np.asarray(text, np.int32), 5).tolist() == plain_following(text, 5)


def test_a_lookup_follows_its_rows():
    lookup = PromptLookup(2)
    text = ids(3000)
    lookup.extend(0, text)
    assert lookup.guess(0, text[100:103], 4) == text[103:107]
    lookup.copy(0, 1, 102)
    assert lookup.guess(1, text[50:53], 60) == [*text[53:102], *text[50:53]][:60]
    lookup.copy(0, 0, 102)
    assert lookup.guess(0, text[100:103], 4) == []
    lookup.extend(0, text[:2000])
    assert lookup.guess(0, text[10:13], 2) == text[13:15]
