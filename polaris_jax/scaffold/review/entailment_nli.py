"""A classifier of natural language inference in a local folder judges whether passages support bullets."""

import hashlib
import importlib
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.scaffold.analysis.sentences import quote_style, sentences

_SPAN, _STEP = 5, 3  # sentences of a window, and from one window to the next: such models learn from short passages
_BATCH = 16
_LONGEST = 512  # tokens of a pair, if the tokenizer knows no limit


@dataclass(frozen=True)
class Labels:
    """What the config of a classifier says about its labels.

    Attributes:
      identity: name of the folder, with a hash of its config and of the size of its weights.
      entailment: index of the label that means support.
    """

    identity: str
    entailment: int


def read_labels(folder: str) -> Labels:
    """Finds the label of entailment in ``id2label``, whatever the order of the labels.

    Raises:
      InputError: there is no such folder, or its config names no label, or several, that begin with ``entail``.
    """
    place = Path(folder)
    try:
        content = (place / "config.json").read_bytes()
        names = json.loads(content).get("id2label") or {}
        found = [int(number) for number, name in names.items() if str(name).lower().startswith("entail")]
    except OSError:
        raise InputError("nli", folder, "no classifier: a folder with config.json, tokenizer and weights") from None
    except (ValueError, AttributeError):
        raise InputError("nli", folder, "its config.json cannot be read") from None
    if len(found) != 1:
        said = ", ".join(map(str, names.values())) or "no names"
        raise InputError("nli", folder, f"one label must be called entailment, id2label has: {said}")
    sizes = sorted((file.name, file.stat().st_size) for file in place.iterdir() if file.is_file())
    digest = hashlib.sha256(content + json.dumps(sizes).encode()).hexdigest()[:12]
    return Labels(f"nli/{place.resolve().name}-{digest}", found[0])


class ClassifierEntailment:
    """Implements ``Entailment`` with a sequence classifier of ``transformers`` (PyTorch), on a GPU if there is one.

    A passage is cut into windows of five sentences, each three after the one before; the window that supports the
    bullet best counts.

    Args:
      folder: a folder in Hugging Face's layout; nothing is downloaded.

    Raises:
      InputError: the folder is no classifier, or the libraries are missing.
    """

    version = "1"

    def __init__(self, folder: str | os.PathLike):
        labels = read_labels(os.fspath(folder))
        self.identity, self._label = labels.identity, labels.entailment
        self._torch, transformers = _library("torch"), _library("transformers")
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError("nli", os.fspath(folder), f"cannot be loaded: {str(error).splitlines()[0]}") from None
        if loaded["missing_keys"]:
            missing = sorted(loaded["missing_keys"])[0]
            raise InputError("nli", os.fspath(folder), f"its weights are no classifier: {missing} is missing")
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model = model.to(self._device).eval()
        most = self._tokenizer.model_max_length
        self._longest = int(most) if most < 1e6 else _LONGEST
        self._lock = threading.Lock()  # a fast tokenizer serves one thread at a time

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """See ``Entailment.probabilities``."""
        cut = {passage: spans(passage) for passage, _ in pairs}
        flat = list(dict.fromkeys((span, bullet) for passage, bullet in pairs for span in cut[passage]))
        flat.sort(key=lambda pair: len(pair[0]) + len(pair[1]))  # little padding
        with self._lock:
            said = [one for start in range(0, len(flat), _BATCH) for one in self._batch(flat[start : start + _BATCH])]
        known = dict(zip(flat, said, strict=True))
        return [max(known[span, bullet] for span in cut[passage]) for passage, bullet in pairs]

    def close(self) -> None:
        """Does nothing: there is no connection."""

    def _batch(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        tokens = self._tokenizer(
            [passage for passage, _ in pairs],
            [bullet for _, bullet in pairs],
            padding=True,
            truncation="only_first",
            max_length=self._longest,
            return_tensors="pt",
        ).to(self._device)
        with self._torch.inference_mode():
            logits = self._model(**tokens).logits.float()
        return logits.softmax(-1)[:, self._label].tolist()


def spans(passage: str) -> list[str]:
    """The windows of a passage, in order; together they hold all of it. A passage without sentences is one window."""
    parts = [one.text for one in sentences(passage, quote_style(passage))]
    last = max(0, len(parts) - _SPAN)
    starts = [*range(0, last, _STEP), last]
    return [" ".join(parts[start : start + _SPAN]) for start in starts] if parts else [passage]


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError("library", name, "not installed; run: pip install polaris-jax[nli]") from None
