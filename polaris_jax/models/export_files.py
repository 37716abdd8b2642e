"""The files beside the weights of a Hugging Face folder, which make it behave elsewhere as it does here.

This module owns ``config.json``, ``generation_config.json``, ``tokenizer_config.json``, ``special_tokens_map.json``,
``chat_template.jinja``, and chooses which of the vocabulary's files are copied. The rules:

* a text ends at the same tokens everywhere: the model's end tokens are in ``config.json`` *and* in
  ``generation_config.json``, which engines prefer;
* every added token of ``tokenizer.json`` stands in ``tokenizer_config.json`` (``added_tokens_decoder``) and, if it is
  special, in ``special_tokens_map.json``, because readers rebuild a tokenizer from those;
* a vocabulary that was changed here (``CHANGED``) is only ``tokenizer.json``, read as it stands: files that spell the
  old one in another format (``tekken.json``, ``vocab.json``, ...) would be preferred by some readers, so they stay
  behind, and the class is the one that rebuilds nothing.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from polaris_jax.models.checkpoint import parse_json_object
from polaris_jax.models.config import ModelConfig
from polaris_jax.models.folder import BucketFolder, LocalFolder

CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
SPECIALS_MAP, TEMPLATE = "special_tokens_map.json", "chat_template.jinja"
# The same vocabulary in other formats; some readers prefer them to ``tokenizer.json``.
OTHER_VOCABULARIES = ("tokenizer.model", "tekken.json", "vocab.json", "merges.txt", "added_tokens.json")
EXPORT_FILES = (TOKENIZER, SETTINGS, SPECIALS_MAP, TEMPLATE, "chat_template.json", GENERATION, *OTHER_VOCABULARIES)
# The class of ``transformers`` that reads ``tokenizer.json`` as it stands.
PLAIN_CLASS = "PreTrainedTokenizerFast"
# The release of transformers whose layout ``config.json`` has. Without it, newer ones take a folder for one of the old
# Mistral releases, which were published with a wrong pattern, and advise to replace the tokenizer's.
LAYOUT_VERSION = "5.0.0"
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
# What a class would rebuild a vocabulary by.
_REBUILDING = ("auto_map", "vocab_file", "tokenizer_file", "sp_model_kwargs", "add_prefix_space", "legacy", "backend")

Files = dict[str, bytes]


def read_export_files(folder: LocalFolder | BucketFolder) -> Files:
    """The files of ``folder`` that an export takes along, by name."""
    return {name: folder.read(name).tobytes() for name in EXPORT_FILES if folder.exists(name)}


def export_files(config: ModelConfig, dtype: np.dtype, source: Mapping[str, bytes]) -> Files:
    """Every file beside the weights; ``config.json``, which completes a folder, is the last.

    Args:
      dtype: of the weights.
      source: the files of the model's tokenizer and generation settings (``read_export_files``); may be empty.

    Raises:
      InputError: a file that is no JSON object.
    """
    files = dict(source)
    if content := files.pop("chat_template.json", None):  # a processor's, of older multimodal releases
        template = _json("chat_template.json", content).get("chat_template")
        if isinstance(template, str) and TEMPLATE not in files:
            files[TEMPLATE] = template.encode()
    if TOKENIZER in files:
        files |= _tokenizer_settings(files, config)
    generation = export_settings(files)
    ends = end_tokens(config, generation)
    if ends or GENERATION in files:
        generation |= {
            name: value
            for name, value in (("bos_token_id", config.bos_token_id), ("pad_token_id", config.pad_token_id))
            if value is not None and name not in generation
        }
        generation["eos_token_id"] = list(ends) if len(ends) > 1 else ends[0] if ends else None
        files[GENERATION] = _bytes(generation)
    files[CONFIG] = _bytes(config.to_hf() | {"dtype": np.dtype(dtype).name, "transformers_version": LAYOUT_VERSION})
    return files


def export_settings(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The generation settings among ``files``.

    Raises:
      InputError: they are no JSON object.
    """
    return _json(GENERATION, files.get(GENERATION, b"{}"))


def end_tokens(config: ModelConfig, generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a text: the config's, then those that only ``generation_config.json`` names."""
    named = generation.get("eos_token_id")
    others = named if isinstance(named, list) else [] if named is None else [named]
    return tuple(dict.fromkeys((*config.eos_token_ids, *others)))


def with_changed_vocabulary(files: Mapping[str, bytes], tokenizer: bytes) -> Files:
    """``files`` with another ``tokenizer.json``, to be read as it stands; the old vocabulary's other formats go.

    Raises:
      InputError: a ``tokenizer_config.json`` that is no JSON object.
    """
    kept = {name: content for name, content in files.items() if name not in OTHER_VOCABULARIES}
    settings = _json(SETTINGS, kept.get(SETTINGS, b"{}"))
    for name in _REBUILDING:
        settings.pop(name, None)
    settings["tokenizer_class"] = PLAIN_CLASS
    return kept | {TOKENIZER: tokenizer, SETTINGS: _bytes(settings)}


def _tokenizer_settings(files: Mapping[str, bytes], config: ModelConfig) -> Files:
    """``tokenizer_config.json`` and ``special_tokens_map.json`` that know every added token of ``tokenizer.json``."""
    settings = _json(SETTINGS, files.get(SETTINGS, b"{}"))
    added = {token["id"]: token for token in _json(TOKENIZER, files[TOKENIZER]).get("added_tokens") or []}
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    settings["added_tokens_decoder"] = {
        str(number): {name: token.get(name, False) for name in names} for number, token in sorted(added.items())
    }
    settings.setdefault("tokenizer_class", PLAIN_CLASS)
    settings.setdefault("clean_up_tokenization_spaces", False)
    if "eos_token" not in settings and config.eos_token_ids and config.eos_token_ids[0] in added:
        settings["eos_token"] = added[config.eos_token_ids[0]]["content"]
    role = {name: settings[name] for name in _ROLES if settings.get(name)}
    named = {value["content"] if isinstance(value, dict) else value for value in role.values()}
    rest = [token["content"] for _, token in sorted(added.items()) if token.get("special")]
    others = [content for content in rest if content not in named]
    # The list's name differs between versions of transformers; each ignores the other's.
    settings["additional_special_tokens"] = others
    if not isinstance(settings.get("extra_special_tokens"), dict):
        settings["extra_special_tokens"] = others
    specials = _json(SPECIALS_MAP, files.get(SPECIALS_MAP, b"{}")) | role | {"additional_special_tokens": others}
    return {SETTINGS: _bytes(settings), SPECIALS_MAP: _bytes(specials)}


def _json(name: str, content: bytes) -> dict[str, Any]:
    return parse_json_object(content, name, "tokenizer")


def _bytes(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
