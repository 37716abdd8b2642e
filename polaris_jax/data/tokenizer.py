"""Text ↔ token ids, exactly: ``decode(encode(text)) == text`` for every string, whatever the vocabulary.

A vocabulary that spells text in a Unicode normal form (Qwen's NFC) returns that form. To Unicode it is the same text,
and ``encode`` gives the same ids for it.

**Segmentation.** A transcript is cut at its three stage strings, each of which is one token, and the text between two
of them is encoded as a whole. So

* stages are independent: ``encode(a + "<|eot_id|>" + b) == encode(a) + [eot_id] + encode(b)``; a writer that appends
  a new stage header and its prefill to the tokens it already has sees what training saw;
* inside a stage the tokens are the vocabulary's own (canonical) ones: the base model was trained on the same tokens,
  and any other engine computes them from the text. Spans of the loss mask never move a token border: a token that
  crosses one belongs to the span of its first character;
* text appended *inside* a stage may merge with the last token there (many vocabularies have a token for a full stop
  with two newlines). ``append`` re-encodes the last line and says how many of the old tokens remain valid. For the
  same reason the tokens of a prefill that ends inside a line, say in a space, are final only when its continuation is
  known.

Exactness comes from bytes: each id stands for fixed bytes, and the concatenated bytes of the ids are the UTF-8 text.
Character positions of tokens follow by cumulative sum; no library's offsets are used.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from polaris_jax import storage
from polaris_jax.data.backends import Backend, read_huggingface, read_sentencepiece
from polaris_jax.data.vocabulary_formats import from_tekken, tekken_settings
from polaris_jax.errors import InputError
from polaris_jax.trajectory import EOT, SPECIALS

TEKKEN = "tekken.json"
# Key of ``tokenizer_config.json`` that names the file with which stores were built. An export of a SentencePiece
# model also has a ``tokenizer.json``, with equal ids and another fingerprint.
PREFERRED = "polaris_vocabulary"
STAGE_TOKENS = SPECIALS  # start header, stop header, end of turn
_STAGE = re.compile("(" + "|".join(map(re.escape, STAGE_TOKENS)) + ")")


class Tokenizer:
    """A vocabulary with the stage tokens; make one with ``load_tokenizer`` or ``train_sentencepiece``.

    Args:
      source: what to call the vocabulary in an error.
      stages: False also accepts a vocabulary without stage tokens. It spells any text, but not a transcript: reading
        the id of a missing token raises InputError.

    Attributes:
      vocab_size: one more than the largest id.
      bos_id: the token every trajectory begins with, or None; ``encode`` never adds it.
      eot_id: the stage token that ends a message.
      special_ids: sorted ids that are not text: the stage tokens, BOS and every id without bytes.
      control_tokens: the special ids that have a name: name → id.
      control_pattern: matches any of these names; it has one group.
      fingerprint: sha256 (hex) of the vocabulary file and the choice of BOS.
    """

    def __init__(self, backend: Backend, source: str = "tokenizer", *, stages: bool = True):
        self._backend, self._source = backend, source
        self._stage_ids = {name: backend.names[name] for name in STAGE_TOKENS if name in backend.names}
        complete = len(self._stage_ids) == len(STAGE_TOKENS)
        if stages and not complete:
            raise self._without_stages()
        self._stage_pattern = _STAGE if complete else _any_of(self._stage_ids)
        if backend.bos is not None and backend.bos not in backend.names:
            raise InputError("bos_token", backend.bos, "is not in the vocabulary; correct tokenizer_config.json")
        self.bos_id = None if backend.bos is None else backend.names[backend.bos]
        self._bytes = list(backend.token_bytes)
        for name, number in self._stage_ids.items():
            self._bytes[number] = name.encode()
        if self.bos_id is not None:
            self._bytes[self.bos_id] = b""
        self._lengths = np.array([len(b) for b in self._bytes], np.int64)
        self.vocab_size = len(self._bytes)
        self.special_ids = tuple(sorted({*self._stage_ids.values(), *np.flatnonzero(self._lengths == 0).tolist()}))
        special = set(self.special_ids)
        self.control_tokens = {name: i for name, i in backend.names.items() if i in special}
        names = sorted(self.control_tokens, key=len, reverse=True)
        self.control_pattern = _any_of(names)
        vocabulary = next(iter(backend.files.values()))
        self.fingerprint = hashlib.sha256(vocabulary + b"\0bos=" + str(backend.bos).encode()).hexdigest()

    @property
    def eot_id(self) -> int:
        """Id of ``<|eot_id|>``."""
        if EOT not in self._stage_ids:
            raise self._without_stages()
        return self._stage_ids[EOT]

    def _without_stages(self) -> InputError:
        missing = ", ".join(name for name in STAGE_TOKENS if name not in self._stage_ids)
        advice = f"has no token {missing}; run polaris convert SRC DST --to=hf --stage-tokens and name DST"
        return InputError("tokenizer", self._source, advice)

    def encode(self, text: str) -> np.ndarray:
        """Token ids of ``text``: int32 [n], no BOS or EOS added.

        Raises:
          InputError: the vocabulary cannot spell the text exactly: its normaliser changes more than the Unicode form.
        """
        text = self.normalize(text)
        parts = self._stage_pattern.split(text)  # text, stage string, text, ... , text
        try:
            spelling = text.encode()
            encoded = iter(self._backend.encode([part for part in parts[::2] if part]))
        except UnicodeEncodeError as error:
            raise InputError("text", text, f"is not valid Unicode ({error.reason})") from error
        ids: list[int] = []
        for place, part in enumerate(parts):
            if place % 2:
                ids.append(self._stage_ids[part])
            elif part:
                ids.extend(next(encoded))
        tokens = np.array(ids, np.int32)
        if b"".join([self._bytes[number] for number in ids]) != spelling:
            raise InputError("text", text, "cannot be spelt exactly by this tokenizer (it normalises or drops text)")
        return tokens

    def normalize(self, text: str) -> str:
        """``text`` in the vocabulary's Unicode form; most vocabularies do not change it."""
        return self._backend.normalize(text) if self._backend.normalize and not text.isascii() else text

    def encode_control(self, text: str) -> list[int]:
        """Token ids of ``text`` in which the name of a control token stands for the token itself.

        Raises:
          InputError: as ``encode``.
        """
        ids: list[int] = []
        for place, part in enumerate(self.control_pattern.split(text)):
            ids += [self.control_tokens[part]] if place % 2 else self.encode(part).tolist()
        return ids

    def encode_spans(self, text: str, boundaries: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """``encode`` plus, for each token, the span in which its first byte lies.

        Args:
          text: the whole transcript.
          boundaries: ascending character offsets at which spans begin; the first is 0.

        Returns:
          tokens int32 [n] and span indices int32 [n].
        """
        tokens = self.encode(text)
        ends = np.cumsum(self._lengths[tokens])
        starts = ends - self._lengths[tokens]
        begins = self._byte_offsets(text, boundaries)
        return tokens, (np.searchsorted(begins, starts, side="right") - 1).astype(np.int32)

    def _byte_offsets(self, text: str, boundaries: Sequence[int]) -> np.ndarray:
        """Byte offsets of the spans in the normalised text; ``boundaries`` count characters of ``text``."""
        pieces = [text[a:b] for a, b in zip(boundaries, [*boundaries[1:], len(text)], strict=True)]
        if self._backend.normalize and not text.isascii():
            normal = [self.normalize(piece) for piece in pieces]
            if "".join(normal) != self.normalize(text):  # a character is composed across a border
                return np.array([len(self.normalize(text[:at]).encode()) for at in boundaries], np.int64)
            pieces = normal
        return np.cumsum([0] + [len(piece.encode()) for piece in pieces[:-1]])

    def append(self, tokens: Sequence[int] | np.ndarray, text: str) -> tuple[int, np.ndarray]:
        """Continues ``tokens`` with ``text``: encodes the last line and ``text`` as one text.

        Returns:
          ``(keep, tail)``: the new sequence is ``tokens[:keep]`` followed by ``tail`` (int32). A decoder with a
          key-value cache rewinds it to ``keep`` entries.
        """
        tokens = np.asarray(tokens, np.int32)
        line = len(tokens)
        while line and not (self._bytes[tokens[line - 1]].endswith(b"\n") or tokens[line - 1] in self.special_ids):
            line -= 1
        # A token that ends with the newline may itself grow ("\n" + "\n" is often one token), so begin before it.
        while line and self._bytes[tokens[line - 1]].endswith(b"\n"):
            line -= 1
        tail = self.encode(self.decode(tokens[line:]) + text)
        same = 0
        while line + same < len(tokens) and same < len(tail) and tokens[line + same] == tail[same]:
            same += 1
        return line + same, tail[same:]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids``. Half a character at an edge becomes U+FFFD; BOS gives no text."""
        return b"".join(self._bytes[i] for i in ids).decode("utf-8", errors="replace")

    def token_bytes(self) -> list[bytes]:
        """The bytes of every id, for byte-level grammars; ``special_ids`` must not be matched as text."""
        return list(self._bytes)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes the vocabulary to a folder, local or gs://; ``load_tokenizer`` of it has the same fingerprint."""
        files = dict(self._backend.files)
        if "tokenizer.json" in files and "tokenizer_config.json" not in files:
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": self._backend.bos, "eos_token": EOT}
            files["tokenizer_config.json"] = json.dumps(config, indent=2).encode()
        for name, content in files.items():
            storage.write(storage.join(os.fspath(folder), name), content)


def _any_of(names: Iterable[str]) -> re.Pattern[str]:
    """A pattern with one group that matches any of ``names``; without names it matches nothing."""
    return re.compile("(" + ("|".join(map(re.escape, names)) or "(?!)") + ")")


def load_tokenizer(path: str | os.PathLike[str], *, stages: bool = True) -> Tokenizer:
    """Loads a Hugging Face ``tokenizer.json``, a SentencePiece ``.model`` or a ``tekken.json``, by file or by folder.

    In a folder with several, the first in this order is read, unless ``tokenizer_config.json`` names one
    (``PREFERRED``).

    The BOS token is the one named in ``tokenizer_config.json`` beside ``tokenizer.json``; without that file,
    ``<|begin_of_text|>`` or ``<s>`` if the vocabulary has it.

    Args:
      path: local or gs://.
      stages: False also accepts a vocabulary without the stage tokens.

    Raises:
      InputError: no such file, an unreadable one, or, with ``stages``, a vocabulary without the stage tokens.
    """
    file, content = _vocabulary_file(os.fspath(path))
    if file.endswith(".model"):
        return Tokenizer(read_sentencepiece(content, file), file, stages=stages)
    config = storage.read(storage.join(os.path.dirname(file) or ".", "tokenizer_config.json"))
    if os.path.basename(file) == TEKKEN:
        content = from_tekken(content, file)
        config = config or json.dumps(tekken_settings(content)).encode()
    return Tokenizer(read_huggingface(content, config, file), file, stages=stages)


def _vocabulary_file(path: str) -> tuple[str, bytes]:
    """The vocabulary file of a path (a file or its folder), and its bytes."""
    if not os.path.isdir(path) and (content := storage.read(path)) is not None:
        return path, content
    settings = storage.read_json(storage.join(path, "tokenizer_config.json")) or {}
    for name in (str(settings.get(PREFERRED, "tokenizer.json")), "tokenizer.json", "tokenizer.model", TEKKEN):
        if "/" not in name and (content := storage.read(storage.join(path, name))) is not None:
            return storage.join(path, name), content
    for name in sorted(storage.names(path)):
        model = name.endswith(".model") and "/" not in name
        if model and (content := storage.read(storage.join(path, name))) is not None:
            return storage.join(path, name), content
    raise InputError("tokenizer", path, "no such file; give a tokenizer.json, a .model, or their folder")


def train_sentencepiece(
    texts: Iterable[str], vocab_size: int, folder: str | os.PathLike[str] | None = None, seed: int = 0
) -> Tokenizer:
    """Trains a byte-fallback BPE vocabulary and saves it; the same arguments give the same bytes.

    The stage strings and the newline are symbols of their own, so no token crosses a line and text can be appended
    at any line start without changing the tokens before it.

    Args:
      texts: any documents; their stage strings become symbols, not text.
      vocab_size: number of ids in all; 262 of them are bytes, symbols and controls.
      folder: where to ``save`` the result; None keeps it in memory.
      seed: for the sample of a million lines that is drawn from a larger corpus.

    Raises:
      InputError: the texts are empty, or too small for ``vocab_size``.
    """
    lines = [line for text in texts for part in _STAGE.split(text)[::2] for line in part.split("\n") if line]
    if not lines:
        raise InputError("texts", "", "contain no text to train a tokenizer on")
    model = io.BytesIO()
    sentencepiece.set_random_generator_seed(seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=1.0,
            user_defined_symbols=[*STAGE_TOKENS, "\n"],
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            input_sentence_size=1_000_000,
            shuffle_input_sentence=True,
            max_sentence_length=1 << 20,
            unk_id=0,
            bos_id=1,
            eos_id=-1,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise InputError("vocab_size", vocab_size, f"cannot be trained on these texts ({error})") from error
    tokenizer = Tokenizer(read_sentencepiece(model.getvalue(), "trained tokenizer"), "trained tokenizer")
    if folder is not None:
        tokenizer.save(folder)
    return tokenizer
