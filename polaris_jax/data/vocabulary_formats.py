"""Converts vocabularies to ``tokenizer.json``: SentencePiece ``.model`` and Mistral's ``tekken.json``.

The result gives the same tokens as the original. ``transformers`` and the engines read it.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram

from polaris_jax.data.backends import SPACE_MARK, byte_level_alphabet, plain_sentencepiece
from polaris_jax.errors import InputError
from polaris_jax.trajectory import SPECIALS as STAGE_TOKENS

# Piece types and fields of SentencePiece's ModelProto (sentencepiece_model.proto).
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6
_PIECES, _TRAINER, _MODEL_TYPE, _UNIGRAM = 1, 2, 3, 1


def from_sentencepiece(content: bytes, source: str) -> bytes:
    """A SentencePiece model (BPE or unigram, with byte fallback) as ``tokenizer.json``, without a dummy prefix.

    Raises:
      InputError: not such a model, or one that normalises text.
    """
    engine = plain_sentencepiece(content, source)
    if engine.normalize("ﬁÅ ①") != f"ﬁÅ{SPACE_MARK}①":
        raise InputError("tokenizer", source, "normalises text, which cannot be exported; give its tokenizer.json")
    pieces = [engine.id_to_piece(number) for number in range(engine.get_piece_size())]
    unigram, types = _piece_types(content)
    unknown = types.index(_UNKNOWN)
    model: Any
    if unigram:
        scores = [engine.get_score(number) for number in range(len(pieces))]
        model = Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown, byte_fallback=True)
    else:
        # The score of a piece of a BPE model is minus its rank; a user-defined symbol takes part in no merge.
        ranks = {piece: -engine.get_score(n) for n, piece in enumerate(pieces) if types[n] == _NORMAL}
        vocab = {piece: number for number, piece in enumerate(pieces)}
        model = BPE(vocab, _merges(ranks), unk_token=pieces[unknown], fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE_MARK)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE_MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    for piece, kind in zip(pieces, types, strict=True):
        stage = piece in STAGE_TOKENS
        if kind in (_CONTROL, _UNKNOWN) or stage:
            tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(piece, normalized=False)])
    if engine.bos_id() >= 0:
        bos = pieces[engine.bos_id()]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, engine.bos_id())]
        )
    return tokenizer.to_str().encode()


def _piece_types(content: bytes) -> tuple[bool, list[int]]:
    """Whether a SentencePiece model is a unigram model, and the type of every piece; the library gives neither."""
    unigram, types = True, []  # unigram and normal are defaults, and defaults are not written
    for field, value in _fields(content):
        if field == _PIECES:
            types.append(next((int(v) for f, v in _fields(value) if f == 3), _NORMAL))
        elif field == _TRAINER:
            unigram = next((int(v) for f, v in _fields(value) if f == _MODEL_TYPE), _UNIGRAM) == _UNIGRAM
    return unigram, types


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and raw values (``int``, or ``bytes``) of a message in protobuf's wire format."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        at += size
        yield key >> 3, message[at - size : at]


def from_tekken(content: bytes, source: str) -> bytes:
    """A ``tekken.json`` (byte-level BPE by rank behind a block of control tokens) as ``tokenizer.json``.

    Raises:
      InputError: not such a file.
    """
    try:
        described = json.loads(content)
        settings = described["config"]
        reserved = int(settings["default_num_special_tokens"])
        size = int(settings["default_vocab_size"]) - reserved
        ranked = [base64.b64decode(entry["token_bytes"], validate=True) for entry in described["vocab"][:size]]
        named = {int(entry["rank"]): str(entry["token_str"]) for entry in described.get("special_tokens") or []}
        pattern = Regex(settings["pattern"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise InputError("tokenizer", source, f"not a readable tekken.json ({str(error)[:80]})") from None
    spelling = byte_level_alphabet()
    spelled = ["".join(spelling[byte] for byte in token) for token in ranked]
    special = [named.get(number, f"<SPECIAL_{number}>") for number in range(reserved)]
    vocab = {token: number for number, token in enumerate([*special, *spelled])}
    tokenizer = Tokenizer(BPE(vocab, _merges({token: rank for rank, token in enumerate(spelled)})))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    if "<s>" in special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", special.index("<s>"))]
        )
    return tokenizer.to_str().encode()


def tekken_settings(tokenizer: bytes) -> dict[str, Any]:
    """The ``tokenizer_config.json`` for a converted ``tekken.json``."""
    names = {token["content"] for token in json.loads(tokenizer)["added_tokens"]}
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return {role: token for role, token in roles.items() if token in names}


def _merges(ranks: Mapping[str, float]) -> list[tuple[str, str]]:
    """Every pair of pieces that makes a piece, best piece first.

    BPE by rank merges the adjacent pair whose union has the best rank. This list of merges gives the same result.
    """
    pairs = [
        (rank, ranks[piece[:at]], ranks[piece[at:]], piece[:at], piece[at:])
        for piece, rank in ranks.items()
        for at in range(1, len(piece))
        if piece[:at] in ranks and piece[at:] in ranks
    ]
    return [pair[3:] for pair in sorted(pairs)]
