"""Gives a vocabulary that was trained for something else the three stage tokens."""

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from polaris_jax.data.tokenizer import STAGE_TOKENS, Tokenizer, load_tokenizer
from polaris_jax.errors import InputError


def add_stage_tokens(source: str | os.PathLike, folder: str | os.PathLike, *, reuse: Sequence[str] = ()) -> Tokenizer:
    """Copies a Hugging Face tokenizer into ``folder`` with the missing stage strings as single tokens.

    Args:
      source: a folder with ``tokenizer.json`` (or that file).
      folder: where the copy goes; the original stays as it is.
      reuse: control tokens the model can spare, in the vocabulary now. The missing stage strings take their ids in
        order, so the embedding matrix keeps its size; any left over are appended after the largest id, and then the
        embedding must grow to ``vocab_size``.

    Raises:
      InputError: no readable ``tokenizer.json``, or a ``reuse`` name that is not an added token of it.
    """
    source = Path(source)
    file = source / "tokenizer.json" if source.is_dir() else source
    try:
        description = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("tokenizer", str(file), f"not a readable tokenizer.json ({error})") from error
    added = {token["content"]: token for token in description.setdefault("added_tokens", [])}
    vocabulary = description["model"].get("vocab", {})
    names = list(vocabulary) if isinstance(vocabulary, dict) else [piece for piece, _ in vocabulary]
    missing = [name for name in STAGE_TOKENS if name not in added]
    spare = list(reuse)
    size = 1 + max([token["id"] for token in added.values()] + [len(names) - 1])
    for name in missing:
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
        token |= {
            "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
        }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "tokenizer.json"
        copy.write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        config = file.with_name("tokenizer_config.json")
        if config.is_file():
            (Path(scratch) / "tokenizer_config.json").write_bytes(config.read_bytes())
        tokenizer = load_tokenizer(copy)
        tokenizer.save(folder)
    return tokenizer
