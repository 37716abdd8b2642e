"""Vocabularies between GGUF's keys and ``tokenizer.json``.

A byte-level BPE is read and written. A SentencePiece-style BPE (byte fallback, spaces as a mark) is only written, as
llama.cpp's ``llama`` tokenizer. GGUF names the way in which text is cut before the merges; ``tokenizer.json`` holds an
expression. ``PRE_TOKENIZERS`` translates between them.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from polaris_jax.errors import InputError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # GGUF token types

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3_WORDS = _QWEN_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
TEKKEN_WORDS = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PLAIN = [pre_tokenizers.ByteLevel(add_prefix_space=False)]


def _split(words: str) -> list[Any]:
    return [
        pre_tokenizers.Split(Regex(words), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]


PRE_TOKENIZERS: dict[str, list[Any]] = {
    "gpt-2": _PLAIN,
    "smollm": [pre_tokenizers.Digits(individual_digits=True), *_PLAIN],
    "llama-bpe": _split(_LLAMA3_WORDS),
    "qwen2": _split(_QWEN_WORDS),
    "tekken": _split(TEKKEN_WORDS),
}
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "gpt2": "gpt-2"}
_WHOLE_WORDS_FIRST = ("llama-bpe", "tekken")  # a word that is a token is taken before any merge


def read_vocabulary(meta: Mapping[str, Any], extra_tokens: Sequence[str]) -> Tokenizer:
    """The byte-level BPE tokenizer that the keys of a GGUF file describe, with ``extra_tokens`` appended if missing.

    Raises:
      InputError: no tokenizer, or one of another kind.
    """
    model, pre = meta.get("tokenizer.ggml.model"), meta.get("tokenizer.ggml.pre", "gpt-2")
    pre = _ALIASES.get(pre, pre)
    if model != "gpt2":
        raise InputError("tokenizer.ggml.model", model, "only byte-level BPE (gpt2) is read")
    if pre not in PRE_TOKENIZERS:
        raise InputError("tokenizer.ggml.pre", pre, f"not one of {', '.join(PRE_TOKENIZERS)}")
    for key in ("tokens", "token_type", "merges"):
        if not meta.get(f"tokenizer.ggml.{key}"):
            raise InputError(f"tokenizer.ggml.{key}", None, "missing: the file's tokenizer cannot be read without it")
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    if len(tokens) != len(types):
        raise InputError("tokenizer.ggml.token_type", len(types), f"does not fit {len(tokens)} tokens")
    vocab = {token: index for index, token in enumerate(tokens)}
    # The space inside a merge is its separator: byte-level BPE spells a space as another character.
    merges = [tuple(merge.split(" ", 1)) for merge in meta["tokenizer.ggml.merges"]]
    try:
        tokenizer = Tokenizer(BPE(vocab, merges, ignore_merges=pre in _WHOLE_WORDS_FIRST))
    except Exception as error:  # the Rust library raises bare Exception
        raise InputError("tokenizer.ggml.merges", len(merges), f"do not fit the tokens ({str(error)[:60]})") from None
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[pre])
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, types, strict=True):
        if kind == CONTROL:
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False)])
    added = [token for token in extra_tokens if tokenizer.token_to_id(token) is None]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in added])
    return tokenizer


def write_vocabulary(writer: Any, tokenizer: bytes, size: int) -> None:
    """The keys of ``tokenizer.json``: kind, pre-tokenizer, every token with its type, merges or scores.

    Args:
      size: rows of the embedding; ids without a token are marked unused.

    Raises:
      InputError: a tokenizer that llama.cpp does not have.
    """
    described = json.loads(tokenizer)
    model = described["model"]
    if model.get("type") != "BPE":
        raise InputError("tokenizer.json", model.get("type"), "only byte-level and SentencePiece-style BPE is written")
    vocab = {number: token for token, number in model["vocab"].items()}
    added = {token["id"]: token for token in described.get("added_tokens") or []}
    last = max([*vocab, *added])
    if last >= size:
        raise InputError("tokenizer.json", last, f"the model has only {size} rows; convert with --stage-tokens")
    fallback = bool(model.get("byte_fallback"))
    tokens, types = [], []
    for number in range(size):
        token = added[number]["content"] if number in added else vocab.get(number)
        tokens.append(f"[PAD{number}]" if token is None else token)
        types.append(_type(token, added.get(number), model, fallback))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if fallback:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(tokens, merges))
        writer.add_add_space_prefix(_has_prefix(described))
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre_name(described))
        writer.add_token_merges(merges)
    writer.add_token_list(tokens)
    writer.add_token_types(types)


def _type(token: str | None, added: Mapping[str, Any] | None, model: Mapping[str, Any], fallback: bool) -> int:
    if token is None:
        return UNUSED
    if token == model.get("unk_token"):
        return UNKNOWN
    if added is not None:
        return CONTROL if added.get("special") else USER_DEFINED
    return BYTE if fallback and len(token) == 6 and token.startswith("<0x") else NORMAL


def _scores(tokens: Sequence[str], merges: Sequence[str]) -> list[float]:
    """llama.cpp merges the pair whose union scores best: minus the place of the first merge that makes a token."""
    first: dict[str, int] = {}
    for place, merge in enumerate(merges):
        first.setdefault(merge.replace(" ", "", 1), place)
    worst = -float(len(merges) + 1)
    return [-float(first[token]) if token in first else worst for token in tokens]


def _has_prefix(described: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text."""
    text = json.dumps([described.get("normalizer"), described.get("pre_tokenizer")])
    return '"Prepend"' in text or any(f'"prepend_scheme": "{how}"' in text for how in ("first", "always"))


def _pre_name(described: Mapping[str, Any]) -> str:
    """GGUF's name of a pre-tokenizer, by what it does."""
    wanted = _cuts(described.get("pre_tokenizer"))
    for name, parts in PRE_TOKENIZERS.items():
        known = json.loads(_serialised(parts))
        if _cuts(known) == wanted:
            return name
    raise InputError("tokenizer.json", "pre_tokenizer", f"none of llama.cpp's ({', '.join(PRE_TOKENIZERS)})")


def _serialised(parts: list[Any]) -> str:
    empty = Tokenizer(BPE())
    empty.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return json.dumps(json.loads(empty.to_str())["pre_tokenizer"])


def _cuts(part: Any) -> list[tuple]:
    """What a pre-tokenizer does to a text, in order, without the settings that do not change where it is cut."""
    if part is None:
        return []
    if part["type"] == "Sequence":
        return [cut for inner in part["pretokenizers"] for cut in _cuts(inner)]
    if part["type"] == "ByteLevel":
        return [("words",)] if part.get("use_regex", True) else []
    if part["type"] == "Digits":
        return [("digits", part["individual_digits"])]
    if part["type"] == "Split":
        return [("split", *part["pattern"].values(), part["behavior"].lower(), part["invert"])]
    return [(part["type"],)]
