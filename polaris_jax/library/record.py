"""The record of one book for other programs: ``polaris segment --json`` and the build report print it."""

from polaris_jax.library.account import Account, Dropped
from polaris_jax.library.novel import Novel, NovelChapter, word_count

MAX_UNEXPLAINED = 0.005  # largest share of a file's words outside chapters and known apparatus without a warning
_PER_LOSS = 0.15  # subtracted from the confidence if words were lost

# Reasons that need no warning: text that is never part of a story, and a book that was rejected whole.
EXPLAINED = frozenset(
    {"licence", "title page", "contents page", "heading", "part heading", "end mark", "preface", "dedication"}
    | {"advertisement", "transcriber's note", "caption", "footnote", "note", "page number", "page mark"}
    | {"introduction by another hand", "appendix", "index", "glossary", "list of illustrations", "unread"}
    | {"footnotes", "footnote mark", "notes", "picture", "cover", "copyright page", "list of tables", "bibliography"}
    | {"colophon", "credits"}  # names that EPUB pages give themselves
)


def segment_record(novel: Novel) -> dict:
    """The record of one book that ``polaris segment`` prints as a JSON line.

    An undivided book lists no chapters, because its pieces are not the author's. ``account`` is None for a book that
    was not read from a file.
    """
    divided = novel.structure not in ("undivided", "unread")
    units = novel.chapters if divided else ()
    return {
        "path": novel.path,
        "title": novel.title,
        "author": novel.author,
        "translator": novel.translator,
        "edition": novel.edition,
        "accepted": novel.accepted,
        "reason": novel.reason,
        "structure": novel.structure,
        "chapter_count": _chapter_count(units),
        "unit_count": len(units),
        "chapters": [
            {
                "name": unit.name,
                "kind": unit.kind,
                "part": unit.part,
                "line": unit.line,
                "words": word_count(unit),
                "scenes": len(unit.scenes),
            }
            for unit in units
        ],
        "account": account_record(novel.account),
    }


def account_record(account: Account | None) -> dict | None:
    """An account as JSON: words of the file, words in chapters, dropped parts with reasons, warnings, confidence."""
    if account is None:
        return None
    losses = loss_warnings(account)
    return {
        "words": account.words,
        "in_chapters": account.in_chapters,
        "dropped_words": sum(stretch.words for stretch in account.dropped),
        "unexplained_words": sum(stretch.words for stretch in account.dropped if is_unexplained(stretch)),
        "dropped": [
            {
                "first_line": stretch.first_line,
                "last_line": stretch.last_line,
                "words": stretch.words,
                "reason": stretch.reason,
            }
            for stretch in account.dropped
        ],
        "warnings": [*account.warnings, *losses],
        "confidence": round(max(0.05, account.confidence - _PER_LOSS), 2) if losses else account.confidence,
    }


def is_unexplained(stretch: Dropped) -> bool:
    """Whether a part was dropped for a reason other than known apparatus."""
    return stretch.reason not in EXPLAINED


def loss_warnings(account: Account) -> list[str]:
    """One sentence if more than 0.5 % of a file's words are outside its chapters and known apparatus, else none."""
    lost = sorted(filter(is_unexplained, account.dropped), key=lambda stretch: -stretch.words)
    words = sum(stretch.words for stretch in lost)
    if words <= MAX_UNEXPLAINED * account.words:
        return []
    places = ", ".join(f"{stretch.first_line}-{stretch.last_line} ({stretch.reason})" for stretch in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return [
        f"{words:,} words ({words / account.words:.1%}) are in no chapter and no known apparatus: lines {places}{more}."
    ]


def _chapter_count(units: tuple[NovelChapter, ...]) -> int:
    """Number of chapters; in an epistolary novel letters count too, but not a few letters that open a novel."""
    chapters = sum(unit.kind == "chapter" for unit in units)
    letters = sum(unit.kind == "letter" for unit in units)
    return chapters + letters if letters > chapters else chapters
