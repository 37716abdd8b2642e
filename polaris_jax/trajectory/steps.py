"""The writer's next step, as a pure function of the transcript so far.

``next_step`` replays the generators of ``requests.py`` over what is written and returns the first missing piece. So the
same call writes a book, resumes it after a crash, and continues after a person has edited a finished stage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from polaris_jax.errors import InputError
from polaris_jax.trajectory import requests, stages
from polaris_jax.trajectory.book_transcript import read_stage
from polaris_jax.trajectory.grammar import Grammar
from polaris_jax.trajectory.profile import Profile
from polaris_jax.trajectory.requests import StageRequest, StageRequests, nothing_wrong
from polaris_jax.trajectory.scripts import bytes_per_character
from polaris_jax.trajectory.sentences import last_sentence_end
from polaris_jax.trajectory.stage_text import Card
from polaris_jax.trajectory.strict import plan_violations
from polaris_jax.trajectory.transcript import EOT, Stage, header, split_stages
from polaris_jax.trajectory.verdict import stage_order
from polaris_jax.trajectory.words import word_count_upper_bound


@dataclass(frozen=True)
class Step:
    """What to ask a model for next.

    Attributes:
      name: ``role/part`` for logs and seeds, such as ``book_plan/chapter_names/2``.
      role: stage role.
      start: offset at which this step begins; anything of the transcript after it is an unfinished step and is dropped.
      prefill: exact text to append before sampling, stage header included when a stage begins.
      grammar: grammar of the sampled text (``.regex``, ``.lark()``); its literals need no sampling.
      suffix: literal to append after the sample (``<|eot_id|>`` or nothing), unless the sample ends with ``continues``.
      continues: non-empty if the sample itself decides whether the stage continues.
      temperature, top_k: sampling settings.
      max_tokens: most tokens to sample.
      target_words: rounded word count of a prose step, else 0.
      accept: checks rules that no grammar can express (unique chapter names); returns complaints, empty if there are
        none.
    """

    name: str
    role: str
    start: int
    prefill: str
    grammar: Grammar
    suffix: str
    continues: str
    temperature: float
    top_k: int | None
    max_tokens: int
    target_words: int = 0
    accept: Callable[[str], tuple[str, ...]] = nothing_wrong

    def apply(self, transcript: str, sampled: str) -> str:
        """The transcript after this step: drops an unfinished step, then appends prefill, sample and suffix."""
        goes_on = self.continues and sampled.endswith(self.continues)
        return transcript[: self.start] + self.prefill + sampled + ("" if goes_on else self.suffix)


def next_step(transcript: str, profile: Profile) -> Step | None:
    """The first step that the transcript lacks, or None if the book is complete.

    Completed stages are read, not judged by the profile, so they may come from a person, another profile or a corpus.
    A stage that was cut off is resumed after its last complete step.

    Args:
      transcript: at least the prompt stage (``open_transcript``).
      profile: bounds of what remains to be written, and the family of stages.

    Raises:
      InputError: no prompt, stages out of order, or a completed stage that cannot be read.
    """
    parts = split_stages(_without_cut_header(transcript), partial=True)
    if not parts or parts[0].role != "prompt" or not parts[0].complete:
        raise InputError("transcript", transcript, "start with open_transcript(prompt)")
    done = [part for part in parts if part.complete]
    said = _Said(done, profile)
    role = said.next_role()
    if role is None:
        return None
    begun = parts[-1] if not parts[-1].complete else None
    if begun and begun.role != role:
        raise InputError(f"stage {len(done)}", begun.role, f"expected stage {role}")
    start = done[-1].end
    request, offset = _replay(said.requests(role), begun.text if begun else "")
    fresh = offset == 0
    return Step(
        name=request.name,
        role=role,
        start=start if fresh else start + len(header(role)) + offset,
        prefill=header(role) * fresh + request.prefill,
        grammar=request.grammar,
        suffix=EOT if request.ends_stage else "",
        continues=request.continues,
        temperature=request.temperature,
        top_k=request.top_k,
        max_tokens=_budget(request, role, profile),
        target_words=request.target_words,
        accept=request.complaints,
    )


def close_prose(text: str) -> str:
    """Prose that reached its cap, cut at its last whole sentence and closed by a fence (G7).

    Raises:
      InputError: there is no text.
    """
    text = text.removesuffix("\n").rstrip("`").rstrip()
    if not text:
        raise InputError("prose", text, "there is no text to close")
    end = last_sentence_end(text)
    return (text[:end] if end else text) + f"\n{stages.FENCE}"


class _Said:
    """The content of the completed stages; it determines the next stage."""

    def __init__(self, done: list[Stage], profile: Profile):
        self.done, self.profile, self.family = done, profile, profile.family
        self.chapters = self._chapters()
        self.order = stage_order(self.family, len(self.chapters))
        for index, (part, role) in enumerate(zip(done, self.order, strict=False)):
            if part.role != role:
                raise InputError(f"stage {index}", part.role, f"expected stage {role}")

    def next_role(self) -> str | None:
        return self.order[len(self.done)] if len(self.done) < len(self.order) else None

    def _chapters(self) -> list[Card]:
        """Planned chapters (name, count, vector): from the plan, or from the first 24B chapter card."""
        source = "book_plan" if self.family == "full_book" else "first_chapter_plan"
        for part in self.done:
            if part.role == source:
                return _planned_chapters(source, part.text, self.family)
        return []

    def requests(self, role: str) -> StageRequests:
        profile, full = self.profile, self.family == "full_book"
        written = sum(part.role == role for part in self.done)
        match role:
            case "book_preview":
                return requests.book_preview(profile)
            case "book_plan":
                return requests.book_plan(profile) if full else requests.book_plan_24b(profile)
            case "first_chapter_plan":
                if full:
                    return requests.first_chapter_plan(profile, self.chapters[0])
                return requests.first_chapter_plan_24b(profile)
            case "full_book_chapters_plan":
                return requests.later_cards(profile, self.chapters)
            case "book_characters_list":
                return requests.characters(profile)
            case "first_chapter_scene_breakdown":
                return requests.scene_breakdown(role, profile, self.chapters[0])
            case "scene_breakdown":
                return requests.scene_breakdown(role, profile, self.chapters[1 + written])
            case "first_chapter_text":
                return requests.chapter_text(role, profile, self.chapters[0])
            case "chapter_text":
                return requests.chapter_text(role, profile, self.chapters[1 + written])
        raise InputError("role", role, "this stage cannot be generated")


@lru_cache(maxsize=8)
def _planned_chapters(source: str, text: str, family: str) -> list[Card]:
    said = read_stage(source, text, family)
    if source == "first_chapter_plan":
        return list(said)
    wrong = next(plan_violations(said), None)
    if wrong:
        raise InputError("book_plan", wrong.place, wrong.message)
    return said.planned


def _replay(pieces: StageRequests, text: str) -> tuple[StageRequest, int]:
    """The first request that ``text`` does not complete, and the offset at which it begins.

    The stage is unfinished, so a request that ends it is never complete.
    """
    at, request = 0, next(pieces)
    while True:
        begin = at + len(request.prefill)
        end = request.grammar.prefix(text, begin) if text.startswith(request.prefill, at) else None
        sampled = text[begin:end] if end is not None else ""
        open_ended = request.ends_stage and not (request.continues and sampled.endswith(request.continues))
        if end is None or open_ended:
            return request, at
        at, request = end, pieces.send(sampled)


def _budget(request: StageRequest, role: str, profile: Profile) -> int:
    cap = profile.caps[role]
    if request.target_words:
        # A word has one or two tokens; in scripts without blanks, a character has up to three.
        share = 3 if "cjk" in profile.scripts else 2
        return min(cap, share * word_count_upper_bound(request.target_words))
    return int(min(cap, bytes_per_character(profile.scripts) * request.grammar.longest))


def _without_cut_header(transcript: str) -> str:
    """Drops a stage header that was cut off before its end."""
    last = transcript.rfind(EOT)
    rest = transcript[last + len(EOT) :] if last >= 0 else ""
    return transcript if "\n\n" in rest or not rest else transcript[: last + len(EOT)]
