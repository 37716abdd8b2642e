"""Joins finished books into the store and its report. Order, manifest and report depend only on the content."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from polaris_jax import storage
from polaris_jax.corpus import work_area
from polaris_jax.corpus.identity import split_of
from polaris_jax.corpus.options import SPLITS
from polaris_jax.corpus.stage_timer import total_seconds
from polaris_jax.corpus.steps import Job, NovelRow, annotator_identity, fallback_of, open_tokenizer, plan_score
from polaris_jax.data import TokenStore, layout
from polaris_jax.data.store import Entry
from polaris_jax.errors import InputError
from polaris_jax.scaffold import template_share
from polaris_jax.trajectory import KINDS

REPORT, RUN = "build_report.json", "last_run.json"
_COUNTS = ("calls", "cached", "retries", "failed", "prompt_tokens", "completion_tokens", "cached_tokens")
_WORST = 12  # how many of a book's worst bullets its report shows


def assemble(job: Job, rows: Iterable[NovelRow]) -> dict:
    """Writes the store with its report at ``job.out``, and ``WORK/last_run.json``; returns that record of the run.

    A store that already holds exactly these trajectories is not changed. Without any trajectory no store is written.
    """
    rows = sorted(rows, key=lambda row: row.order)
    entries = [_entry(job, row, facts) for row in rows if row.status == "built" for facts in row.facts["trajectories"]]
    if entries and not _is_there(job, entries):
        _write_store(job, rows, entries)
    report = build_report(job, rows, entries)
    if entries:
        storage.write_json(storage.join(job.out, REPORT), report)
    run = {"report": report, "run": _run(rows)}
    storage.write_json(storage.join(job.work, RUN), run)
    return run


def _split(job: Job, row: NovelRow) -> str:
    return split_of(row.author, row.title, job.options.shares, job.options.seed)


def _entry(job: Job, row: NovelRow, facts: dict) -> Entry:
    meta = {
        "title": row.title,
        "author": row.author,
        "split": _split(job, row),
        "volume": facts["volume"],
        "prompt": facts["prompt"],
        "profile": job.options.profile,
        "chapters": facts["chapters"],
        "truncated": facts["truncated"],
        "annotator": facts["annotator"],
        "novel": row.sha256,
    }
    return Entry(facts["tokens"], facts["sha256"], meta)


def _is_there(job: Job, entries: Sequence[Entry]) -> bool:
    """Whether a complete store with these trajectories exists at ``job.out``."""
    tokenizer = open_tokenizer(job.work, job.tokenizer)
    try:
        store = TokenStore.open(job.out, tokenizer)
        return store.entries == list(entries) and not store.verify()
    except InputError:  # no store, a damaged one, or one of another tokenizer: it will be replaced
        return False


def _write_store(job: Job, rows: Sequence[NovelRow], entries: Sequence[Entry]) -> None:
    tokenizer = open_tokenizer(job.work, job.tokenizer)
    coming = iter(entries)
    number = 0
    with TokenStore.create(job.out, tokenizer) as writer:
        for row in rows:
            if row.status != "built":
                continue
            for trajectory in work_area.load(job.work, row.book):
                entry = next(coming)
                if Entry.of(trajectory, entry.meta) != entry:
                    raise ValueError(f"{work_area.facts_at(job.work, row.book)} belongs to other tokens; delete it")
                writer.append(trajectory, entry.meta)
                number += 1
                if job.transcripts:
                    text = tokenizer.decode(trajectory.tokens)
                    storage.write(storage.join(job.transcripts, transcript_name(number)), text.encode())


def transcript_name(number: int) -> str:
    """File name of the ``number``-th trajectory's text, from 1."""
    return f"{number:06d}.txt"


def build_report(job: Job, rows: Sequence[NovelRow], entries: Sequence[Entry]) -> dict:
    """The report: what the store holds and what was left out. Equal inputs give equal reports on any machine."""
    trajectories, places = [], iter(range(1, len(entries) + 1))
    for row in rows:
        for facts in row.facts["trajectories"] if row.status == "built" else ():
            place = next(places)
            entry = {"title": row.title, "author": row.author, "split": _split(job, row), "valid": True} | facts
            entry["plan"] = entry["plan"].get("score")
            if job.transcripts:
                entry["file"] = f"{storage.name_of(job.transcripts)}/{transcript_name(place)}"
            trajectories.append(entry)
    kinds = _total(trajectories, "by_kind")
    splits = {
        split: {
            "books": sum(row.status == "built" and _split(job, row) == split for row in rows),
            "trajectories": sum(one["split"] == split for one in trajectories),
            "tokens": sum(one["tokens"] for one in trajectories if one["split"] == split),
        }
        for split in SPLITS
    }
    store = {"tokenizer": job.tokenizer, "trajectories": [asdict(entry) for entry in entries]}
    return {
        "options": asdict(job.options),
        "window": job.options.window,
        "tokenizer": job.tokenizer,
        "annotator": annotator_identity(job.annotator),
        "judge": job.judge.identity(),
        "content_hash": layout.content_hash({"format": layout.FORMAT, **store}),
        "inputs_hash": work_area.key(novels=sorted(row.sha256 for row in rows)),
        "tokens": sum(kinds.values()),
        "words": sum(one["words"] for one in trajectories),
        "by_kind": {kind: kinds.get(kind, 0) for kind in KINDS},
        "fields": _total(trajectories, "fields"),
        "fallback": _total(trajectories, "fallback"),
        "failures": _total(trajectories, "failures"),
        "faithfulness": _total(trajectories, "faithfulness"),
        "splits": splits,
        "books": _with_templates([_book(job, row) for row in rows], rows),
        "trajectories": trajectories,
    }


def _total(rows: Iterable[dict], name: str) -> dict[str, int]:
    """The sum over all rows of their table of counts ``name``."""
    total: Counter = Counter()
    for row in rows:
        total.update(row[name])
    return dict(total)


def _book(job: Job, row: NovelRow) -> dict:
    made = row.facts["trajectories"] if row.status == "built" else []
    fallback, fields = fallback_of(row.facts) if row.facts else (0, 0)
    found = {
        "file": row.file,
        "title": row.title,
        "author": row.author,
        "split": _split(job, row),
        "status": row.status,
        "accepted": row.status == "built",
        "reason": row.reason,
        "structure": row.structure,
        "chapter_count": row.chapters,
        "unit_count": row.units,
        "words": row.words,
        "account": row.account,
        "size": row.size,
        "sha256": row.sha256,
        "trajectories": len(made),
        "tokens": sum(one["tokens"] for one in made),
        "truncated": sum(one["truncated"] for one in made),
        "fields": fields,
        "fallback": fallback,
        "plan": _plan(made, plan_score(row.facts)) if made else None,
    }
    return found | ({"duplicate_of": row.of} if row.of else {})


def _plan(made: Sequence[dict], score: float | None) -> dict:
    """Combines the reviews of a book's plans: parts weighted by bullets, and the worst bullets of all plans."""
    reviews = [one["plan"] for one in made if one["plan"]]
    bullets = sum(review["bullets"] for review in reviews)
    parts = {
        name: round(sum(review["parts"][name] * review["bullets"] for review in reviews) / max(1, bullets), 4)
        for name in (reviews[0]["parts"] if reviews else ())
    }
    asked = [review["model"] for review in reviews if review["model"]]
    model = {name: sum(one[name] for one in asked) for name in ("bullets", "unanswered")} if asked else None
    worst = sorted((line for review in reviews for line in review["worst"]), key=lambda line: (line[2], line[1]))
    found = {"score": score and round(score, 1), "parts": parts, "bullets": bullets, "worst": worst[:_WORST]}
    return found | {"model": model}


def _with_templates(books: list[dict], rows: Sequence[NovelRow]) -> list[dict]:
    """Adds to each planned book the share of its bullets that open like bullets of at least two other books."""
    planned = [(book, row) for book, row in zip(books, rows, strict=True) if book["plan"]]
    openings = [
        _total([one["plan"] for one in row.facts["trajectories"] if one["plan"]], "openings") for _, row in planned
    ]
    for (book, _), share in zip(planned, template_share(openings), strict=True):
        book["plan"]["template"] = round(share, 4)
    return books


def _run(rows: Sequence[NovelRow]) -> dict:
    """The record of this run: what was done now, what was found done, the cost, and the time by stage."""
    planned = [row for row in rows if "book" in row.fresh]
    return {
        "novels": len(rows),
        "read_now": sum("survey" in row.fresh for row in rows),
        "planned_now": len(planned),
        "found_planned": sum(bool(row.facts) for row in rows) - len(planned),
        "unfinished": sum(row.status == "unfinished" for row in rows),
        "errors": sum(row.status == "error" for row in rows),
        "bytes_planned": sum(row.size for row in planned),
        "tokens_planned": sum(one["tokens"] for row in planned for one in row.facts["trajectories"]),
        "seconds_by_stage": total_seconds([row.seconds for row in rows]),
        "seconds_by_book": {row.sha256: row.seconds["book"] for row in rows if "book" in row.seconds},
        "ledger": _ledgers(rows),
    }


def _ledgers(rows: Iterable[NovelRow]) -> dict:
    """The sum of the ledgers of all processes. A process's ledger only grows, so its largest is its last."""
    last: dict[str, dict] = {}
    for ledger in (row.ledger for row in rows if row.ledger):
        held = last.setdefault(ledger["process"], ledger)
        if [ledger[name] for name in _COUNTS] > [held[name] for name in _COUNTS]:
            last[ledger["process"]] = ledger
    if not last:
        return {}
    total = _total([{"all": {name: ledger[name] for name in _COUNTS}} for ledger in last.values()], "all")
    known = [ledger["usd"] for ledger in last.values() if ledger["usd"] is not None]
    return total | {"usd": sum(known) if known else None}
