"""``Judgement``: the result of judging a story: usable scores or a kind of failure, with the raw replies."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.rewards.rubric_scores import InvalidJudgeReply, RubricScores, read_rubric_scores

_FORMS = "a stored reply: its text, the JSON object in it, or a list of replies"


@dataclass(frozen=True)
class Judgement:
    """The replies of one judge about one story, and the rubric scores in them.

    Attributes:
      rubric_scores: one for every usable reply; their qualities are averaged.
      raw: the texts of these replies, to store and read again.
      unusable: the texts of the other replies.
      failed: None, or why there are no scores at all: a kind of ``polaris_jax.llm.CallFailed`` or of
        ``InvalidJudgeReply``, or ``no_story``. A failed judgement has no score; the row is left out of its group's
        statistics and of the gradient.
      detail: the failure in one line.
      judge: identity of the judge; ``stored`` for a reply that came with the row.
      cached: whether every reply came from the cache.
      outage: if a sample's call failed but may succeed later, the kind of failure (``llm.failures.OUTAGE``).
      hopeless: whether every other story will fail in the same way (``CallFailed.hopeless``).
    """

    rubric_scores: tuple[RubricScores, ...]
    raw: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    failed: str | None = None
    detail: str = ""
    judge: str = "stored"
    cached: bool = True
    outage: str | None = None
    hopeless: bool = False

    def mean(self, dimension: str) -> float | None:
        """Mean score of a dimension, by its id; None without scores."""
        return statistics.fmean(one.scores[dimension] for one in self.rubric_scores) if self.rubric_scores else None

    def to_json(self) -> dict:
        """JSON values from which ``read_stored`` restores the judgement."""
        return {
            "raw": list(self.raw),
            "unusable": list(self.unusable),
            "failed": self.failed,
            "detail": self.detail,
            "judge": self.judge,
        }


def read_replies(
    replies: Sequence[str],
    failed: str | None = None,
    detail: str = "",
    unusable: Sequence[str] = (),
    judge: str = "stored",
    cached: bool = True,
) -> Judgement:
    """Reads a judgement from raw replies. It has failed only if no reply holds scores.

    Args:
      failed, detail: kind and detail of a failed call beside the replies; kept if no reply holds scores.
      unusable: texts of failed calls; they are stored, but not read for scores.
    """
    rubric_scores: list[RubricScores] = []
    raw, texts = [], list(unusable)
    for reply in replies:
        try:
            rubric_scores.append(read_rubric_scores(reply))
            raw.append(reply)
        except InvalidJudgeReply as bad:
            texts.append(reply)
            if failed is None:
                failed, detail = ("empty", "no text in the reply") if not reply.strip() else (bad.kind, bad.detail)
    if not rubric_scores and failed is None:
        failed, detail = "empty", "no reply"
    if rubric_scores:
        failed, detail = None, ""
    return Judgement(tuple(rubric_scores), tuple(raw), tuple(texts), failed, detail, judge, cached)


def read_stored(stored: Any) -> Judgement:
    """Reads the judgement that is stored in a row.

    Args:
      stored: a ``Judgement``; a reply as text or as its JSON object; a list of replies (repeated samples); the result
        of ``Judgement.to_json``; or ``[reply or null, timed out, error or null]``.

    Raises:
      InputError: anything else.
    """
    if isinstance(stored, Judgement):
        return stored
    if isinstance(stored, str):
        return read_replies([stored])
    if isinstance(stored, Mapping):
        if not isinstance(stored.get("raw"), list):
            return read_replies([_text(stored)])
        given = {name: stored[name] for name in ("failed", "detail", "judge") if stored.get(name)}
        if not all(isinstance(value, str) for value in given.values()) or not isinstance(
            stored.get("unusable") or [], list
        ):
            raise InputError("judge", stored, _FORMS)
        return read_replies(_texts(stored["raw"]), unusable=_texts(stored.get("unusable") or []), **given)
    if isinstance(stored, (list, tuple)):
        if len(stored) == 3 and isinstance(stored[1], bool):
            reply, timed_out, error = stored
            texts = [""] if reply is None else _texts([reply])
            if timed_out or error:
                return read_replies([], "timeout" if timed_out else "server", str(error or "timed out")[:300])
            return read_replies(texts)
        if stored:
            return read_replies(_texts(stored))
    raise InputError("judge", stored, _FORMS)


def _texts(replies: Sequence[Any]) -> list[str]:
    """Replies as text.

    Raises:
      InputError: a reply is neither text nor a JSON object.
    """
    if not all(isinstance(reply, (str, Mapping)) for reply in replies):
        raise InputError("judge", replies, _FORMS)
    return [_text(reply) for reply in replies]


def _text(reply: str | Mapping) -> str:
    return reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False)
