"""Other formats as ``tokenizer.json``: the same text in the same tokens; and text in a canonical Unicode form."""

import base64
import json
import unicodedata

import numpy as np
import pytest
import tokenizers

from polaris_jax.data import add_stage_tokens, encode_transcript, load_tokenizer, train_sentencepiece
from polaris_jax.data.vocabulary_formats import from_sentencepiece, from_tekken
from polaris_jax.errors import InputError

CORPUS = ["the cat sat on the mat, and the dog ran.\nWho's there? said the café's owner in 1815."] * 30
TEXTS = [
    "the cat sat on the mat",
    "  two  spaces\n\n\nthree lines\t",
    "naïve café — “quotes” … 漢字 👩‍🚀",
    "<|start_header_id|>prompt<|stop_header_id|>\n\nWho?<|eot_id|><|start_header_id|>x",
    "a" * 50,
]


def test_a_sentencepiece_model_spells_the_same_as_tokenizer_json():
    ours = train_sentencepiece(CORPUS, 330)
    content = from_sentencepiece(ours._backend.files["tokenizer.model"], "trained")
    theirs = tokenizers.Tokenizer.from_buffer(content)
    for text in TEXTS:
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text).tolist(), text
        assert theirs.decode(ours.encode(text).tolist(), skip_special_tokens=False) == text
    assert theirs.encode("x").ids[0] == ours.bos_id


def tekken(size, **changes):
    """A ``tekken.json`` with ``size`` tokens: the bytes, then words."""
    words = [" the", " cat", "th", "the", "ca", " c", " t", " th", "at", "cat"]
    ranked = [bytes([byte]) for byte in range(256)]
    ranked += sorted((word.encode() for word in words), key=len)[: size - 256]
    config = {
        "pattern": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        "num_vocab_tokens": len(ranked) + 5,
        "default_vocab_size": len(ranked) + 10,
        "default_num_special_tokens": 10,
        "version": "v3",
    }
    vocab = [{"rank": n, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for n, t in enumerate(ranked)]
    special = [{"rank": n, "token_str": t, "is_control": True} for n, t in enumerate(["<unk>", "<s>", "</s>"])]
    return json.dumps({"config": config, "vocab": vocab, "special_tokens": special} | changes).encode()


def test_a_tekken_file_is_read_by_rank_behind_its_control_tokens(tmp_path):
    (tmp_path / "tekken.json").write_bytes(tekken(266))
    tokenizer = add_stage_tokens(tmp_path, tmp_path / "grown")
    assert (tokenizer.bos_id, tokenizer.vocab_size) == (1, 10 + 266 + 3)
    assert tokenizer.encode("\n").tolist() == [10 + 10]
    assert [tokenizer.token_bytes()[i] for i in tokenizer.encode(" the cat").tolist()] == [b" the", b" cat"]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    again = load_tokenizer(tmp_path / "grown")
    assert again.fingerprint == tokenizer.fingerprint
    with pytest.raises(InputError, match="has no token"):  # readable, but without the stage tokens
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", [b"{}", b"[", tekken(256, vocab=[{"token_bytes": "%"}]), tekken(256, config=3)])
def test_a_broken_tekken_file_is_one_line(content):
    with pytest.raises(InputError, match=r"tekken\.json"):
        from_tekken(content, "tekken.json")


@pytest.fixture(name="nfc")
def _nfc(tmp_path):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    engine.normalizer, engine.decoder = normalizers.NFC(), decoders.ByteLevel()
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.save(str(tmp_path / "tokenizer.json"))
    return add_stage_tokens(tmp_path, tmp_path / "grown")


@pytest.mark.parametrize("text", ["cafe\u0301", "10 \u212b", "\ufb2a", "\u1112\u1161\u11ab", "plain", "caf\u00e9"])
def test_text_is_spelt_in_the_canonical_form_of_the_vocabulary(nfc, text):
    composed = unicodedata.normalize("NFC", text)
    assert nfc.decode(nfc.encode(text)) == composed
    assert nfc.encode(text).tolist() == nfc.encode(composed).tolist()


def test_spans_of_decomposed_text_keep_their_tokens(nfc):
    """Borders of spans count characters of the text as given; one falls between a letter and its accent."""
    text = "e\u0301a\u212bb"
    tokens, owner = nfc.encode_spans(text, [0, 2, 3])
    assert [nfc.decode(tokens[owner == span]) for span in range(3)] == ["\u00e9", "a", "\u00c5b"]
    tokens, owner = nfc.encode_spans("xe\u0301", [0, 2])
    assert nfc.decode(tokens) == "x\u00e9"
    assert np.all(np.diff(owner) >= 0)


def test_a_transcript_of_decomposed_text_is_labelled_like_its_composed_form(nfc):
    stages = "<|start_header_id|>prompt<|stop_header_id|>\n\n{}<|eot_id|>"
    a, b = (encode_transcript(stages.format(word), nfc) for word in ("cafe\u0301", "caf\u00e9"))
    assert a.tokens.tolist() == b.tokens.tolist()
    assert a.weights.tolist() == b.weights.tolist()


def test_other_changes_to_a_text_are_refused_still(tmp_path):
    """Even one that keeps the number of bytes."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine = Tokenizer(models.BPE({letter: n for n, letter in enumerate(letters)}, []))
    engine.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("ß", "ss")])
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.save(str(tmp_path / "tokenizer.json"))
    tokenizer = add_stage_tokens(tmp_path, tmp_path / "grown")
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"
    with pytest.raises(InputError, match="exactly"):
        tokenizer.encode("straße")
