"""``Judgement``: what judging a story brought, usable scores or a kind of failure, with the raw replies."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.rewards.sheet import BadSheet, ScoreSheet, read_sheet


@dataclass(frozen=True)
class Judgement:
    """The replies of one judge about one story, and the score sheets in them.

    Attributes:
      sheets: one for every usable reply; their qualities are averaged.
      raw: the texts of these replies, for the record and for reading them again.
      unusable: the texts of the others.
      failed: None, or why there is no sheet at all: a kind of ``polaris_jax.llm.CallFailed`` or of ``BadSheet``, or
        ``no_story``. A failed judgement has no score; the row leaves its group's statistics and gradient.
      detail: of the failure, one line.
      judge: identity of the judge, ``stored`` for a reply that came with the row.
      cached: no call was made for it.
    """

    sheets: tuple[ScoreSheet, ...]
    raw: tuple[str, ...] = ()
    unusable: tuple[str, ...] = ()
    failed: str | None = None
    detail: str = ""
    judge: str = "stored"
    cached: bool = True

    def mean(self, dimension: str) -> float | None:
        """Mean score of a dimension, by its id; None without a sheet."""
        return statistics.fmean(sheet.scores[dimension] for sheet in self.sheets) if self.sheets else None

    def to_json(self) -> dict:
        """Plain values from which ``of_stored`` makes the judgement again."""
        return {"raw": list(self.raw), "unusable": list(self.unusable), "failed": self.failed, "detail": self.detail,
                "judge": self.judge}  # fmt: skip


def read_replies(
    replies: Sequence[str], failed: str | None = None, detail: str = "", unusable: Sequence[str] = (),
    judge: str = "stored", cached: bool = True,
) -> Judgement:  # fmt: skip
    """The judgement in raw replies; it has failed only if none of them holds a sheet.

    Args:
      failed, detail: of a call beside the replies, kept if there is no sheet.
      unusable: texts that a failed call did bring: kept for the record, never read for scores.
    """
    sheets, raw, unusable = [], [], list(unusable)
    for reply in replies:
        try:
            sheets.append(read_sheet(reply))
            raw.append(reply)
        except BadSheet as bad:
            unusable.append(reply)
            if failed is None:
                failed, detail = ("empty", "no text in the reply") if not reply.strip() else (bad.kind, bad.detail)
    if not sheets and failed is None:
        failed, detail = "empty", "no reply"
    if sheets:
        failed, detail = None, ""
    return Judgement(tuple(sheets), tuple(raw), tuple(unusable), failed, detail, judge, cached)


def of_stored(stored: Any) -> Judgement:
    """A judgement from what a row carries.

    Args:
      stored: a ``Judgement``; a reply as text or as the JSON object in it; a list of those (repeated draws); what
        ``Judgement.to_json`` wrote; or ``[reply or null, timed out, error or null]``.

    Raises:
      InputError: anything else.
    """
    if isinstance(stored, Judgement):
        return stored
    if isinstance(stored, str):
        return read_replies([stored])
    if isinstance(stored, Mapping):
        if isinstance(stored.get("raw"), list):
            said = {name: stored[name] for name in ("failed", "detail", "unusable", "judge") if stored.get(name)}
            return read_replies(stored["raw"], **said)
        return read_replies([json.dumps(stored, ensure_ascii=False)])
    if isinstance(stored, (list, tuple)):
        if len(stored) == 3 and isinstance(stored[1], bool):
            reply, timed_out, error = stored
            if timed_out or error:
                return read_replies([], "timeout" if timed_out else "server", str(error or "timed out"))
            return read_replies([reply or ""])
        if stored and all(isinstance(reply, (str, Mapping)) for reply in stored):
            return read_replies([r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in stored])
    raise InputError("judge", stored, "a stored reply: its text, the JSON object in it, or a list of replies")
