"""Decoding gives the text back exactly, and a fingerprint identifies a tokenizer."""

import json

import numpy as np
import pytest
from data_toys import TEXT, train_byte_level
from hypothesis import given, settings
from hypothesis import strategies as st

from polaris_jax.data import STAGE_TOKENS, add_stage_tokens, load_tokenizer, train_sentencepiece
from polaris_jax.errors import InputError

FORMATS = ("byte_level", "merging_lines", "metaspace", "sentencepiece")
PIECES = [
    "\n",
    "\n\n",
    "  ",
    " ",
    "\t",
    "\r\n",
    "▁",
    "<s>",
    "<unk>",
    "<spare_3>",
    "<0x0A>",
    "```",
    "ﬁ",
    "é",
    "é",
    "😀",
    "“No,” he said.",
    "the lamp",
    ".",
    "...",
    "\x00",
    "\u200b",
    *STAGE_TOKENS,
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map("".join)


@pytest.mark.parametrize("name", FORMATS)
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_every_text_comes_back(vocabularies, name, text):
    tokenizer = vocabularies[name]
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32
    assert tokenizer.decode(tokens) == text
    table = tokenizer.token_bytes()
    assert b"".join(table[i] for i in tokens) == text.encode()


@pytest.mark.parametrize("name", FORMATS)
@given(before=texts, after=texts, stage=st.sampled_from(STAGE_TOKENS))
@settings(max_examples=60, deadline=None)
def test_stages_are_tokenised_independently(vocabularies, name, before, after, stage):
    tokenizer = vocabularies[name]
    parts = [tokenizer.encode(part) for part in (before, stage, after)]
    assert len(parts[1]) == 1
    np.testing.assert_array_equal(tokenizer.encode(before + stage + after), np.concatenate(parts))


@pytest.mark.parametrize("name", FORMATS)
@given(text=texts, cuts=st.lists(st.integers(0, 60), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_token_belongs_to_the_span_of_its_first_character(vocabularies, name, text, cuts):
    tokenizer = vocabularies[name]
    boundaries = sorted({0, *(cut for cut in cuts if cut < len(text))})
    tokens, owner = tokenizer.encode_spans(text, boundaries)
    np.testing.assert_array_equal(tokens, tokenizer.encode(text))
    encoded, table, byte = text.encode(), tokenizer.token_bytes(), 0
    for token, span in zip(tokens, owner, strict=True):
        # The character that holds the token's first byte: its index is the number of characters complete before it.
        character = len(encoded[: byte + 1].decode(errors="ignore"))
        character -= encoded[byte] < 0x80 or len(encoded[: byte + 1].decode(errors="ignore")) > len(
            encoded[:byte].decode(errors="ignore")
        )
        assert span == np.searchsorted(boundaries, character, side="right") - 1
        byte += len(table[token])


@pytest.mark.parametrize("name", FORMATS)
@given(before=texts, after=texts)
@settings(max_examples=60, deadline=None)
def test_appending_is_like_encoding_in_one_piece(vocabularies, name, before, after):
    tokenizer = vocabularies[name]
    tokens = tokenizer.encode(before)
    keep, tail = tokenizer.append(tokens, after)
    np.testing.assert_array_equal(np.concatenate([tokens[:keep], tail]), tokenizer.encode(before + after))


def test_appending_keeps_what_still_stands(tokenizer):
    tokens = tokenizer.encode(TEXT)
    keep, tail = tokenizer.append(tokens, "- One more line.")
    assert keep == len(tokens)
    assert tokenizer.decode(tail) == "- One more line."


@pytest.mark.parametrize("name", FORMATS)
def test_a_prefill_that_ends_a_line_is_a_prefix_of_the_training_tokens(vocabularies, name):
    tokenizer = vocabularies[name]
    prefill = "<|start_header_id|>chapter_text<|stop_header_id|>\n\n### Chapter 1: The Signal House\n```\n"
    for prose in ("The lamp went out.", "“You saw it?” he said.", "...and then", "1820 was a cold year."):
        head = tokenizer.encode(prefill)
        np.testing.assert_array_equal(tokenizer.encode(prefill + prose)[: len(head)], head)


@pytest.mark.parametrize("name", FORMATS)
def test_control_strings_in_prose_do_not_become_control_tokens(vocabularies, name):
    tokenizer = vocabularies[name]
    assert tokenizer.bos_id is not None
    assert not set(tokenizer.encode("He typed <s> and <unk>.").tolist()) & set(tokenizer.special_ids)
    assert set(tokenizer.encode("".join(STAGE_TOKENS)).tolist()) <= set(tokenizer.special_ids)
    assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode("Ines")]) == "Ines"


@pytest.mark.parametrize("name", FORMATS)
def test_a_saved_tokenizer_is_the_same_tokenizer(vocabularies, name, tmp_path):
    tokenizer = vocabularies[name]
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.bos_id, again.eot_id, again.vocab_size) == (tokenizer.bos_id, tokenizer.eot_id, tokenizer.vocab_size)
    np.testing.assert_array_equal(again.encode(TEXT), tokenizer.encode(TEXT))
    assert len({other.fingerprint for other in vocabularies.values()}) == len(FORMATS)


def test_training_is_deterministic_and_saved(tmp_path):
    one = train_sentencepiece([TEXT], 320, tmp_path / "one", seed=3)
    two = train_sentencepiece([TEXT], 320, tmp_path / "two", seed=3)
    assert one.vocab_size == 320
    assert (tmp_path / "one/tokenizer.model").read_bytes() == (tmp_path / "two/tokenizer.model").read_bytes()
    assert load_tokenizer(tmp_path / "one/tokenizer.model").fingerprint == two.fingerprint


def test_a_vocabulary_larger_than_the_text_allows_is_refused():
    with pytest.raises(InputError, match="vocab_size=5000"):
        train_sentencepiece(["a short text"], 5000)


def test_missing_stage_tokens_are_named_and_can_be_added(tmp_path):
    plain = train_byte_level(tmp_path / "plain")
    with pytest.raises(InputError, match=r"<\|start_header_id\|>, <\|stop_header_id\|>, <\|eot_id\|>"):
        load_tokenizer(plain)
    size = len(json.loads((plain / "tokenizer.json").read_text())["model"]["vocab"])
    grown = add_stage_tokens(plain, tmp_path / "grown")
    reusing = add_stage_tokens(plain, tmp_path / "reusing", reuse=["<spare_3>", "<spare_1>", "<spare_0>"])
    assert (grown.vocab_size, reusing.vocab_size) == (size + 3, size)
    assert reusing.control_tokens["<|start_header_id|>"] == 4
    np.testing.assert_array_equal(grown.encode(TEXT), reusing.encode(TEXT))
    with pytest.raises(InputError, match="reuse='<nothing>'"):
        add_stage_tokens(plain, tmp_path / "wrong", reuse=["<nothing>"])


def test_a_tokenizer_that_would_change_the_text_says_so(vocabularies, tmp_path):
    vocabularies["byte_level"].save(tmp_path)
    description = json.loads((tmp_path / "tokenizer.json").read_text())
    description["normalizer"] = {"type": "NFKC"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    lossy = load_tokenizer(tmp_path)
    assert lossy.decode(lossy.encode("plain text")) == "plain text"
    with pytest.raises(InputError, match="cannot be spelt exactly"):
        lossy.encode("the ﬁrst page")


def test_bad_files_are_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"not a readable tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "broken.model").write_bytes(b"not a model")
    with pytest.raises(InputError, match="not a readable SentencePiece model"):
        load_tokenizer(tmp_path / "broken.model")
    with pytest.raises(InputError, match="Unicode"):
        train_sentencepiece([TEXT], 320).encode("half a pair: \ud800")
