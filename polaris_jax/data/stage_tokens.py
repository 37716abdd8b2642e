"""Adds the three stage tokens to a vocabulary that lacks them."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from polaris_jax.data.backends import without_dummy_prefix
from polaris_jax.data.tokenizer import STAGE_TOKENS, TEKKEN, Tokenizer, load_tokenizer
from polaris_jax.data.vocabulary_formats import from_sentencepiece, from_tekken, tekken_settings
from polaris_jax.errors import InputError

_FORMATS = {"tokenizer.model": from_sentencepiece, TEKKEN: from_tekken}


def add_stage_tokens(
    source: str | os.PathLike[str], folder: str | os.PathLike[str], *, reuse: Sequence[str] = ()
) -> Tokenizer:
    """Copies a tokenizer into ``folder`` as ``tokenizer.json`` with the missing stage strings as single tokens.

    Args:
      source: a folder with ``tokenizer.json``, ``tokenizer.model`` or ``tekken.json`` (or one of these files).
      folder: where the copy goes; the original stays as it is.
      reuse: control tokens of the vocabulary that the model can spare. The missing stage strings take their ids in
        order, so the embedding matrix keeps its size. If ``reuse`` is too short, the other strings are appended after
        the largest id, and the embedding must grow to ``vocab_size``.

    Raises:
      InputError: no readable vocabulary, or a ``reuse`` name that is not an added token of it.
    """
    source = Path(source)
    file = next((source / name for name in ("tokenizer.json", *_FORMATS) if (source / name).is_file()), source)
    content = tokenizer_json(file)
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "tokenizer.json"
        copy.write_bytes(with_stage_tokens(content, str(file), reuse=reuse))
        config = file.with_name("tokenizer_config.json")
        if config.is_file():
            (Path(scratch) / "tokenizer_config.json").write_bytes(config.read_bytes())
        elif file.name == TEKKEN:
            (Path(scratch) / "tokenizer_config.json").write_text(json.dumps(tekken_settings(content)))
        tokenizer = load_tokenizer(copy)
        tokenizer.save(folder)
    return tokenizer


def tokenizer_json(file: str | os.PathLike[str]) -> bytes:
    """A vocabulary file in any of the formats, as the content of a ``tokenizer.json``.

    Raises:
      InputError: no such file, or its content does not fit its name.
    """
    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError("tokenizer", str(path), f"not a readable tokenizer.json ({error.strerror})") from error
    convert = _FORMATS.get("tokenizer.model" if path.suffix == ".model" else path.name)
    return convert(content, str(path)) if convert else content


def with_stage_tokens(content: bytes, source: str, *, reuse: Sequence[str] = ()) -> bytes:
    """A ``tokenizer.json`` with the missing stage strings and without a dummy prefix; see ``add_stage_tokens``.

    A transcript is cut at its stage strings and encoded part by part. A vocabulary that puts a space before every text
    would put one after each stage string.

    Args:
      source: what to call the file in an error.
    """
    try:
        description = json.loads(content)
        added = {token["content"]: token for token in description.setdefault("added_tokens", [])}
        vocabulary = description["model"].get("vocab", {})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError("tokenizer", source, f"not a readable tokenizer.json ({str(error)[:80]})") from error
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        description[part] = without_dummy_prefix(description.get(part))
    names = list(vocabulary) if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
    spare = list(reuse)
    size = 1 + max([token["id"] for token in added.values()] + [len(names) - 1])
    for name in [name for name in STAGE_TOKENS if name not in added]:
        if spare:
            old = spare.pop(0)
            if old not in added:
                raise InputError("reuse", old, "is not an added token of this tokenizer")
            token = added.pop(old)
            if isinstance(vocabulary, dict) and old in vocabulary:
                vocabulary[name] = vocabulary.pop(old)
            token["content"] = name
        else:
            token = {"id": size, "content": name}
            size += 1
            description["added_tokens"].append(token)
    for token in description["added_tokens"]:
        if token["content"] in STAGE_TOKENS:
            token |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    return json.dumps(description, ensure_ascii=False).encode()
