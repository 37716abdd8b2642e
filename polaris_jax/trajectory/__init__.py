"""The format of a written book: records, grammar, transcript, supervised spans and the writer's next step.

Grammars are declared in one algebra (``grammar``); regular expressions, decoder grammars and parsers are derived from
it. They are declared twice: ``elements`` and ``stages`` are the released patterns, for reading and judging; ``phrases``
and ``requests`` constrain a writer to a bounded part of the same language. ``validate`` judges a stage, ``check`` a
transcript. ``parse`` and ``render`` convert between transcript and ``Book``. ``spans`` returns what is supervised.
``next_step`` returns what a writer must ask a model for next. Pure Python.
"""

from polaris_jax.trajectory.book import DIMENSIONS, Arc, Book, Chapter, Described, Preview, Scene, Vector
from polaris_jax.trajectory.book_transcript import parse, render
from polaris_jax.trajectory.longpage import from_longpage, to_longpage
from polaris_jax.trajectory.outline import BookOutline, read_outline
from polaris_jax.trajectory.profile import FIRST_CHAPTER, FULL_BOOK, MINI, Profile, mini_profile
from polaris_jax.trajectory.stages import ELEMENTS, ROLES
from polaris_jax.trajectory.steps import Step, close_prose, next_step
from polaris_jax.trajectory.strict import Violation
from polaris_jax.trajectory.supervision import KINDS, LossPolicy, Span, spans
from polaris_jax.trajectory.transcript import (
    EOT,
    SPECIALS,
    START,
    STOP,
    Stage,
    book_filename,
    extract_planned_chapters,
    header,
    join_stages,
    merge_prefilled_text,
    open_transcript,
    render_prompt,
    split_stages,
    trim_stage_text,
)
from polaris_jax.trajectory.validation import Validation, validate
from polaris_jax.trajectory.verdict import Verdict, check, describe_transcript
from polaris_jax.trajectory.words import LEGAL_COUNTS, bin_word_count, count_words, word_count_upper_bound

__all__ = [
    "DIMENSIONS",
    "ELEMENTS",
    "EOT",
    "FIRST_CHAPTER",
    "FULL_BOOK",
    "KINDS",
    "LEGAL_COUNTS",
    "MINI",
    "ROLES",
    "SPECIALS",
    "START",
    "STOP",
    "Arc",
    "Book",
    "BookOutline",
    "Chapter",
    "Described",
    "LossPolicy",
    "Preview",
    "Profile",
    "Scene",
    "Span",
    "Stage",
    "Step",
    "Validation",
    "Vector",
    "Verdict",
    "Violation",
    "bin_word_count",
    "book_filename",
    "check",
    "close_prose",
    "count_words",
    "describe_transcript",
    "extract_planned_chapters",
    "from_longpage",
    "header",
    "join_stages",
    "merge_prefilled_text",
    "mini_profile",
    "next_step",
    "open_transcript",
    "parse",
    "read_outline",
    "render",
    "render_prompt",
    "spans",
    "split_stages",
    "to_longpage",
    "trim_stage_text",
    "validate",
    "word_count_upper_bound",
]
