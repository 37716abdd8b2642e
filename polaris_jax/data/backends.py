"""The two tokenizer formats behind one interface: pieces of text → ids, and the raw bytes of every id.

Both readers switch off everything that would keep tokens from spelling the text exactly: template tokens, padding,
truncation, and the dummy space that some vocabularies put before a text. A file's own normaliser may still change a
text; the caller compares byte counts to notice this.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sentencepiece
import tokenizers

from polaris_jax.errors import InputError

SPACE_MARK = "\u2581"  # how SentencePiece-style vocabularies write a space
# ``normalizer_spec { add_dummy_prefix: false remove_extra_whitespaces: false }`` in wire format. Protobuf merges
# messages that follow one another, so appending this to a model switches both off. The generated Python classes are
# not used: they need a newer protobuf runtime than Apache Beam allows.
_PLAIN_NORMALISER = bytes((3 << 3 | 2, 4, 3 << 3, 0, 4 << 3, 0))


@dataclass(frozen=True)
class Backend:
    """What a tokenizer file can do.

    Attributes:
      encode: texts without control tokens → one list of ids per text.
      token_bytes: the bytes each id stands for; empty for control tokens and unused ids.
      names: the string of every control or added token → its id.
      bos: the string of the beginning-of-sequence token, or None.
      files: what ``save`` writes, name → content.
      normalize: the Unicode normal form in which the vocabulary spells text (NFC, NFD); None = as it is.
    """

    encode: Callable[[Sequence[str]], list[list[int]]]
    token_bytes: list[bytes]
    names: dict[str, int]
    bos: str | None
    files: dict[str, bytes]
    normalize: Callable[[str], str] | None = None


def read_huggingface(content: bytes, config: bytes | None, source: str) -> Backend:
    """Reads ``tokenizer.json`` (byte-level BPE, or SentencePiece-style with byte fallback).

    Args:
      content: the file.
      config: ``tokenizer_config.json`` beside it, which names the BOS token, if there is one.
      source: what to call the file in an error.
    """
    try:
        description = json.loads(content)
        for part in ("normalizer", "pre_tokenizer"):
            description[part] = without_dummy_prefix(description.get(part))
        engine = tokenizers.Tokenizer.from_str(json.dumps(description))
    except Exception as error:  # the Rust library raises bare Exception
        raise InputError("tokenizer", source, f"not a readable tokenizer.json ({str(error)[:80]})") from error
    engine.no_padding()
    engine.no_truncation()
    engine.encode_special_tokens = True  # control strings inside prose stay prose; the caller cuts out stage strings

    added = {str(token.content): number for number, token in engine.get_added_tokens_decoder().items()}
    control = {token.content for token in engine.get_added_tokens_decoder().values() if token.special}
    vocabulary = engine.get_vocab(with_added_tokens=True)
    byte_level = "ByteLevel" in _types(description.get("decoder")) | _types(description.get("pre_tokenizer"))
    spell = _byte_level_speller() if byte_level else _marked_bytes
    table = [b""] * (max(vocabulary.values()) + 1)
    for piece, number in vocabulary.items():
        if piece in control:
            continue
        table[number] = piece.encode() if piece in added else spell(piece)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in engine.encode_batch_fast(list(texts), add_special_tokens=False)]

    bos = _bos_of(config, source)
    if bos is None and config is None:
        bos = next((name for name in ("<|begin_of_text|>", "<s>") if name in vocabulary), None)
    files = {"tokenizer.json": content}
    if config is not None:
        files["tokenizer_config.json"] = config
    names = {**vocabulary, **added}
    spelled = encode if byte_level else _spelling_marks(encode, names)
    return Backend(spelled, table, names, bos, files, _canonical_form(description.get("normalizer")))


def _canonical_form(normalizer: object) -> Callable[[str], str] | None:
    """The normaliser's canonical form (NFC or NFD), which Unicode treats as the same text; None for any other."""
    forms = {"NFC": tokenizers.normalizers.NFC, "NFD": tokenizers.normalizers.NFD}
    found = [form() for name, form in forms.items() if name in _types(normalizer)]
    return found[0].normalize_str if len(found) == 1 else None


def plain_sentencepiece(content: bytes, source: str) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's own engine for a ``.model``. It adds no space before a text and merges no spaces."""
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=content + _PLAIN_NORMALISER)
    except Exception as error:
        raise InputError("tokenizer", source, f"not a readable SentencePiece model ({str(error)[:80]})") from error


def read_sentencepiece(content: bytes, source: str) -> Backend:
    """Reads a SentencePiece ``.model``; its dummy prefix and whitespace squeezing are switched off."""
    engine = plain_sentencepiece(content, source)
    pieces = [engine.id_to_piece(number) for number in range(engine.get_piece_size())]
    table = [
        b"" if engine.is_control(n) or engine.is_unknown(n) or engine.is_unused(n) else _marked_bytes(piece)
        for n, piece in enumerate(pieces)
    ]
    names = {piece: number for number, piece in enumerate(pieces)}
    bos = pieces[engine.bos_id()] if engine.bos_id() >= 0 else None
    return Backend(_spelling_marks(engine.encode, names), table, names, bos, {"tokenizer.model": content})


def _spelling_marks(
    encode: Callable[[Sequence[str]], list[list[int]]], names: dict[str, int]
) -> Callable[[Sequence[str]], list[list[int]]]:
    """``encode`` for texts that contain the space mark itself. It is spelt in bytes, so it is not read as a space."""
    mark = [names[piece] for byte in SPACE_MARK.encode() if (piece := f"<0x{byte:02X}>") in names]

    def encode_marked(texts: Sequence[str]) -> list[list[int]]:
        parts = [text.split(SPACE_MARK) for text in texts]
        encoded = iter(encode([piece for split in parts for piece in split]))
        ids = []
        for split in parts:
            pieces = [next(encoded) for _ in split]
            ids.append([number for piece in pieces for number in (*mark, *piece)][len(mark) :])
        return ids

    return encode_marked


def _types(part: object) -> set[str]:
    """The ``type`` names in a nested component description."""
    if isinstance(part, dict):
        return {part.get("type", "")}.union(*map(_types, part.values()))
    if isinstance(part, list):
        return set().union(*map(_types, part))
    return set()


def without_dummy_prefix(part: object) -> object:
    """A copy of a normaliser, pre-tokenizer or decoder description that neither adds nor removes a leading space."""
    if isinstance(part, list):
        return [kept for kept in map(without_dummy_prefix, part) if kept is not None]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend" or (part.get("type"), part.get("content")) == ("Strip", " "):
        return None
    changed = {key: without_dummy_prefix(value) for key, value in part.items()}
    if part.get("type") == "Metaspace":
        changed |= {"prepend_scheme": "never"}
        changed.pop("add_prefix_space", None)
    if part.get("type") == "ByteLevel":
        changed |= {"add_prefix_space": False}
    return changed


def _marked_bytes(piece: str) -> bytes:
    """Bytes of a SentencePiece-style piece: ``<0x0A>`` is one byte, the space mark is a space."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE_MARK, " ").encode()


def byte_level_alphabet() -> dict[int, str]:
    """The character that a byte-level BPE writes each byte as."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


def _byte_level_speller() -> Callable[[str], bytes]:
    """Bytes of a byte-level BPE piece: printable Latin-1 stands for itself, U+0100 onwards for the other bytes."""
    byte_of = {character: byte for byte, character in byte_level_alphabet().items()}

    def spell(piece: str) -> bytes:
        return bytes(byte_of[c] for c in piece) if all(c in byte_of for c in piece) else piece.encode()

    return spell


def _bos_of(config: bytes | None, source: str) -> str | None:
    try:
        token = json.loads(config or b"{}").get("bos_token")
    except ValueError as error:
        raise InputError("tokenizer_config.json", source, f"not JSON ({error})") from error
    return token.get("content") if isinstance(token, dict) else token
