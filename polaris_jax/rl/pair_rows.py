"""Preference pairs as rows for the learner, from a token store or directly from a file of pairs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax import storage
from polaris_jax.data import ChatTemplate, Tokenizer, TokenStore, Trajectory, layout, load_chat_template
from polaris_jax.data.encode_rows import CHOSEN, REJECTED, RowEncoder, end_of_text
from polaris_jax.data.formats import Pair, find_files, read_file
from polaris_jax.errors import InputError
from polaris_jax.rl.rows import TrainingRow


@dataclass(frozen=True)
class PairAnswer:
    """One side of a pair.

    Attributes:
      row: prompt and response in tokens; the response begins with the first learned token.
      learned: float32, per response token: 1 where it counts, 0 in a user turn between two assistant turns.
    """

    row: TrainingRow
    learned: np.ndarray

    @classmethod
    def of(cls, whole: Trajectory) -> "PairAnswer":
        """Makes an answer from a stored trajectory, whose first token is never a target.

        Raises:
          InputError: no token is learned.
        """
        learned = np.flatnonzero(whole.weights[1:] > 0)
        if not len(learned):
            raise InputError("pairs", len(whole), "an answer has no token to learn")
        first = 1 + int(learned[0])
        return cls(TrainingRow(whole.tokens[:first], whole.tokens[first:]), whole.weights[first:].astype(np.float32))

    def cut(self, most: int) -> "PairAnswer":
        """The answer with at most ``most`` response tokens."""
        return PairAnswer(TrainingRow(self.row.prompt, self.row.response[:most]), self.learned[:most])


@dataclass(frozen=True)
class PreferencePair:
    """Two answers to one prompt; ``where`` says where the pair stands in its file."""

    where: str
    chosen: PairAnswer
    rejected: PairAnswer


def read_pairs(
    source: str,
    model: str,
    tokenizer: Tokenizer,
    *,
    split: str = "",
    max_prompt: int,
    max_response: int,
    long_answers: str = "leave_out",
    limit: int = 0,
) -> tuple[list[PreferencePair], dict[str, int]]:
    """The pairs of a store made by ``polaris build --data``, or of a file or folder of pairs.

    Args:
      source: local or ``gs://``. model: folder of the model, whose chat template is used for a file of pairs.
      split: a split of a store; "" takes all.
      max_prompt, max_response: tokens. A pair with a longer prompt is left out.
      long_answers: what happens to a pair with a longer answer: it is left out (``leave_out``), or both its answers end
        at the limit, without an end token (``cut``).
      limit: use only this many, evenly spread; 0 is all.

    Returns:
      ``(pairs, counts)``; counts of ``long_prompts`` and ``long_answers``.

    Raises:
      InputError: rows that are not pairs, a broken row, or no pair left.
    """
    if storage.read(storage.join(source, layout.MANIFEST)) is not None:
        found = _of_store(TokenStore.open(source, tokenizer), split)
    else:
        found = _of_files(source, model, tokenizer)
    pairs, counts = [], {"long_prompts": 0, "long_answers": 0}
    for pair in found:
        sides = (pair.chosen, pair.rejected)
        if max(len(side.row.prompt) for side in sides) > max_prompt:
            counts["long_prompts"] += 1
        elif max(len(side.row.response) for side in sides) > max_response:
            counts["long_answers"] += 1
            if long_answers == "cut":
                pairs.append(PreferencePair(pair.where, *(side.cut(max_response) for side in sides)))
        else:
            pairs.append(pair)
    if not pairs:
        advice = f"no pair fits {max_prompt} tokens of prompt and {max_response} of answer ({counts})"
        raise InputError("config.data.train", source, advice)
    if 0 < limit < len(pairs):
        pairs = [pairs[i * len(pairs) // limit] for i in range(limit)]
    return pairs, counts


def _of_store(store: TokenStore, split: str) -> list[PreferencePair]:
    sides: dict[int, dict[str, int]] = {}
    for index in range(len(store)):
        meta = store.meta(index)
        if "pair" not in meta:
            advice = f"row {index} is no preference pair; build a store of pairs alone"
            raise InputError("config.data.train", store.path, advice)
        if not split or meta["split"] == split:
            sides.setdefault(meta["pair"], {})[meta["side"]] = index
    if not sides:
        raise InputError(
            "config.data", store.path, f"has no pair in the split {split!r}; build it with another --split"
        )
    pairs = []
    for both in sides.values():
        read = store.read_many([(both[name], 0, int(store.lengths[both[name]])) for name in (CHOSEN, REJECTED)])
        pairs.append(PreferencePair(store.meta(both[CHOSEN])["where"], *map(PairAnswer.of, read)))
    return pairs


def _of_files(source: str, model: str, tokenizer: Tokenizer) -> list[PreferencePair]:
    encode = RowEncoder(tokenizer, _template(model, tokenizer), end_of_text(model, tokenizer))
    pairs = []
    for file in find_files([source], "config.data.train")[0]:
        for row in read_file(file):
            if isinstance(row, InputError):
                raise row
            if not isinstance(row.record, Pair):
                advice = f"is of the format {row.format}; pairs have prompt, chosen and rejected"
                raise InputError(row.where, row.format, advice)
            try:
                chosen, rejected = encode(row.record).pieces
            except InputError as error:
                raise InputError(f"{row.where}: {error.field}", error.value, error.advice) from None
            pairs.append(
                PreferencePair(row.where, PairAnswer.of(chosen.trajectory), PairAnswer.of(rejected.trajectory))
            )
    return pairs


def _template(model: str, tokenizer: Tokenizer) -> ChatTemplate | None:
    """The model's chat template, or None. Without one, prompt and answer are joined as plain text."""
    try:
        return load_chat_template(model, tokenizer)
    except InputError as error:
        if error.field != "model":
            raise
        return None


def fingerprint(pairs: Sequence[PreferencePair]) -> str:
    """sha256 (hex) of the tokens and of which of them are learned."""
    digest = hashlib.sha256()
    for pair in pairs:
        for side in (pair.chosen, pair.rejected):
            for array in (side.row.prompt, side.row.response, side.learned):
                digest.update(len(array).to_bytes(8, "little") + array.tobytes())
    return digest.hexdigest()
