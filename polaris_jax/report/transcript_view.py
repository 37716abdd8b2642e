"""A transcript as coloured text: the kind of each character, the role of each stage, the verdict of the grammar.

It also shows a transcript whose last stage is still being written, one that breaks the grammar (with coarse colours),
and text that is not a transcript (unchanged).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from polaris_jax.errors import InputError
from polaris_jax.report.page import render
from polaris_jax.trajectory import KINDS, Span, Stage, check, count_words, header, spans, split_stages

FENCE = "```\n"
VISIBLE_WORDS, LEAST_FOLDED_WORDS = 90, 60

TokenCounter = Callable[[str], int]


@dataclass(frozen=True)
class Piece:
    """Text of one kind; of long prose, ``text`` is shown and ``rest`` is folded."""

    kind: str
    text: str
    rest: str = ""

    @property
    def folded_words(self) -> int:
        return count_words(self.rest)


@dataclass(frozen=True)
class StageView:
    """One stage. ``ok`` is None while it is being written; ``tokens`` is None without a tokenizer."""

    number: int
    role: str
    words: int
    characters: int
    tokens: int | None
    ok: bool | None
    violation: str | None
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class TranscriptView:
    """A whole transcript.

    Attributes:
      stages: empty when the text is not a sequence of stages; then ``raw`` is the text.
      ok: the strict verdict; None while the last stage is unfinished.
      violations: one line each.
      truncated: whether it ends, at a legal place, before the last planned chapter.
      kinds: characters per kind, in the order of ``KINDS``.
    """

    stages: tuple[StageView, ...]
    ok: bool | None
    violations: tuple[str, ...] = ()
    truncated: bool = False
    kinds: dict[str, int] | None = None
    raw: str = ""

    @property
    def words(self) -> int:
        return sum(stage.words for stage in self.stages)

    @property
    def tokens(self) -> int | None:
        counts = [stage.tokens for stage in self.stages]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None


def transcript_html(transcript: str, title: str, count_tokens: TokenCounter | None = None) -> str:
    """A complete, self-contained page that shows a transcript.

    Args:
      transcript: any text; if it is not a transcript, the page shows it with the reason.
      title: heading of the page.
      count_tokens: counts the tokens of a text, for example ``lambda text: len(tokenizer.encode(text))``.
    """
    return render("transcript_page.html", title=title, view=view_transcript(transcript, count_tokens))


def view_transcript(transcript: str, count_tokens: TokenCounter | None = None) -> TranscriptView:
    """Splits, checks (strict mode) and colours a transcript."""
    try:
        parts = split_stages(transcript, partial=True)
    except InputError as error:
        return TranscriptView((), False, (str(error),), raw=transcript)
    finished = [part for part in parts if part.complete]
    prefix = transcript[: finished[-1].end] if finished else ""
    verdict = check(prefix, "strict")
    coloured = _colours(transcript, prefix, parts)
    stages = []
    for number, part in enumerate(parts):
        judged = verdict.stages[number] if part.complete else None
        own = [span for span in coloured if part.start <= span.start < part.end]
        stages.append(
            StageView(
                number=number,
                role=part.role,
                words=count_words(part.text),
                characters=len(part.text),
                tokens=count_tokens(transcript[part.start : part.end]) if count_tokens else None,
                ok=judged.ok if judged else None,
                violation=str(judged.violation) if judged and judged.violation else None,
                pieces=tuple(_piece(span.kind, transcript[span.start : span.end]) for span in own),
            )
        )
    kinds = {kind: sum(span.end - span.start for span in coloured if span.kind == kind) for kind in KINDS}
    unfinished = len(finished) < len(parts)
    violations = tuple(str(one) for one in verdict.violations)
    if unfinished:  # the order can be checked only when the last stage is complete
        violations = tuple(str(stage.violation) for stage in verdict.stages if stage.violation)
    return TranscriptView(tuple(stages), None if unfinished else verdict.ok, violations, verdict.truncated, kinds)


def _colours(transcript: str, prefix: str, parts: list[Stage]) -> list[Span]:
    try:
        exact = spans(prefix)
    except InputError:
        exact, prefix = [], ""
    return [*exact, *(span for part in parts if part.start >= len(prefix) for span in _coarse(transcript, part))]


def _coarse(transcript: str, part: Stage) -> Iterator[Span]:
    """Kinds of a stage that breaks the grammar: its header, and the rest as prose or scaffold."""
    if part.role == "prompt":
        yield Span(part.start, part.end, part.role, "prompt", 0.0)
        return
    start = part.start + len(header(part.role))
    yield Span(part.start, start, part.role, "header", 1.0)
    fence = transcript.find(FENCE, start, part.end) if part.role.endswith("_text") else -1
    if fence >= 0:
        yield Span(start, fence + len(FENCE), part.role, "copy", 1.0)
        yield Span(fence + len(FENCE), part.end, part.role, "prose", 1.0)
    elif start < part.end:
        yield Span(start, part.end, part.role, "scaffold", 1.0)


def _piece(kind: str, text: str) -> Piece:
    """Folds prose after the paragraph that reaches ``VISIBLE_WORDS``, if at least ``LEAST_FOLDED_WORDS`` follow."""
    if kind != "prose":
        return Piece(kind, text)
    seen, at = 0, 0
    for paragraph in text.split("\n\n"):
        seen += count_words(paragraph)
        at += len(paragraph) + 2
        if seen >= VISIBLE_WORDS:
            break
    if count_words(text[at:]) < LEAST_FOLDED_WORDS:
        return Piece(kind, text)
    return Piece(kind, text[:at], text[at:])
