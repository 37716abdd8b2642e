"""The constraint allows every text of the grammar, forces certain tokens, and keeps the tokenization of training."""

import random

import numpy as np
import pytest
from sampling_models import TEXT
from small_tokenizers import save_byte_level

from polaris_jax.data import STAGE_TOKENS, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.sampling.constraint import Constraint, grammar_tokenizer
from polaris_jax.sampling.options import unpack_bitmask
from polaris_jax.trajectory import MINI, phrases, stages
from polaris_jax.trajectory.charset import CharSet
from polaris_jax.trajectory.grammar import CharClass, Token, optional, repeat, seq

WORD = Token("word", CharClass(CharSet.of(("a", "z"), " "), 1, 30))
LIST = seq("## Rules\n", repeat(seq("- ", WORD), 1, 3, "\n"), optional("\n\n## End"))


@pytest.fixture(scope="session")
def byte_level(tmp_path_factory):
    """A byte-level BPE in Hugging Face's format: no token for a single space before a word, tokens across newlines."""
    return load_tokenizer(save_byte_level(tmp_path_factory.mktemp("bpe"), [TEXT * 4], 600, ["<s>", *STAGE_TOKENS]))


@pytest.fixture(params=["tokenizer", "byte_level"])
def any_tokenizer(request):
    return request.getfixturevalue(request.param)


def allowed(constraint, tokenizer):
    return set(np.flatnonzero(np.asarray(unpack_bitmask(constraint.mask(), tokenizer.vocab_size))[0]).tolist())


def test_headings_are_forced_and_the_seam_before_the_first_word_stays_open(any_tokenizer):
    constraint = Constraint(LIST, grammar_tokenizer(any_tokenizer))
    forced = constraint.forced()
    text = any_tokenizer.decode(forced)
    assert text.startswith("## Rules\n")
    assert "## Rules\n- ".startswith(text)
    constraint.consume(forced)
    assert not constraint.accepting
    # A token that covers the space and the first letters is allowed unless the vocabulary has none.
    pieces = any_tokenizer.token_bytes()
    joined = {n for n, piece in enumerate(pieces) if piece[:1] == b" " and piece[1:].isalpha() and piece.islower()}
    if text.endswith("-"):
        assert joined
        assert joined <= allowed(constraint, any_tokenizer)


def test_the_end_token_is_offered_exactly_where_the_text_is_complete(any_tokenizer):
    constraint = Constraint(LIST, grammar_tokenizer(any_tokenizer))
    for text, complete in (("## Rules\n- ", False), ("he waits", True), ("\n", False), ("- she writes", True)):
        constraint.consume(any_tokenizer.encode(text).tolist())
        assert constraint.accepting == complete
        assert (any_tokenizer.eot_id in allowed(constraint, any_tokenizer)) == complete
        assert not set(any_tokenizer.special_ids) - {any_tokenizer.eot_id} & allowed(constraint, any_tokenizer)
    constraint.consume(any_tokenizer.encode("\n\n## End").tolist())
    assert constraint.finished


def test_rewinding_brings_the_same_choices_back(any_tokenizer):
    constraint = Constraint(LIST, grammar_tokenizer(any_tokenizer))
    constraint.consume(any_tokenizer.encode("## Rules\n- he").tolist())
    length, choices = constraint.length, allowed(constraint, any_tokenizer)
    constraint.consume(any_tokenizer.encode("\n- she\n- a\n\n## E").tolist())
    constraint.rewind(length)
    assert allowed(constraint, any_tokenizer) == choices


def test_illegal_text_is_refused(any_tokenizer):
    constraint = Constraint(LIST, grammar_tokenizer(any_tokenizer))
    with pytest.raises(ValueError, match="grammar"):
        constraint.consume(any_tokenizer.encode("## Rules\n* he").tolist())


STAGE_GRAMMARS = {
    "preview": seq(f"{stages.HIGHLIGHT}\n", phrases.preview(MINI)),
    "card": seq("### Fog\n**Word Count:** 250\n**Narrative Focuses:** ", phrases.card_body(MINI)),
    "scene": seq("**Embedding Space:** ", phrases.scene_body(MINI)),
    "arcs": seq(f"{stages.SHORT}\n", phrases.short_arcs(MINI), f"\n\n{stages.ARCHETYPES}\n"),
    "people": seq(f"{stages.MAIN}\n", phrases.described("####", (1, 3), (1, 2), MINI)),
}


@pytest.mark.parametrize("name", STAGE_GRAMMARS)
def test_along_canonical_tokens_what_is_forced_is_what_training_saw(any_tokenizer, name):
    grammar, vocabulary = STAGE_GRAMMARS[name], grammar_tokenizer(any_tokenizer)
    rng = random.Random(1)
    for _ in range(4):
        tokens = any_tokenizer.encode(grammar.sample(rng)).tolist()
        constraint, at = Constraint(grammar, vocabulary), 0
        forced_tokens = 0
        while at < len(tokens):
            forced = constraint.forced()
            assert forced == tokens[at : at + len(forced)]
            forced_tokens += len(forced)
            new = forced or tokens[at : at + 1]
            constraint.consume(new)
            at += len(new)
        assert constraint.accepting
        assert forced_tokens


def test_a_long_pattern_is_refused_in_a_short_line(tokenizer):
    vocabulary = grammar_tokenizer(tokenizer)
    for make, text in (
        (Constraint.regex, "a" * 30_000 + "("),
        (Constraint.lark, "start: " + '"a" ' * 9_000 + "nobody"),
    ):
        with pytest.raises(InputError) as caught:
            make(text, vocabulary)
        assert len(str(caught.value)) < 700
        assert "\n" not in str(caught.value)
