"""The steps of a library build as plain functions over files: read a novel, choose books, make a book.

Each is a function of the job and one picklable record, so a loop, a pool of processes and a cluster call the same code.
Files in the work area are named by their content, so a step whose file exists is not repeated.
"""

import hashlib
import io
import tempfile
import threading
import time
import traceback
import uuid
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from polaris_jax import storage
from polaris_jax.corpus import work_area
from polaris_jax.corpus.duplicates import find_duplicates, signature
from polaris_jax.corpus.identity import author_key, title_key
from polaris_jax.corpus.options import ResolvedOptions
from polaris_jax.corpus.stage_timer import StageTimer
from polaris_jax.corpus.trajectories import NovelRefused, make_trajectories
from polaris_jax.data import Tokenizer, load_tokenizer
from polaris_jax.errors import InputError
from polaris_jax.library import Novel, read_novel, segment_record
from polaris_jax.llm import BudgetSpent
from polaris_jax.llm.usage import merged
from polaris_jax.scaffold import (
    Annotator,
    AnnotatorSpec,
    Entailment,
    EntailmentSpec,
    LLMAnnotator,
    ModelEntailment,
    OfflineAnnotator,
    open_annotator,
    open_entailment,
)
from polaris_jax.trajectory import count_words


@dataclass(frozen=True)
class Job:
    """One build; every worker has a copy.

    Attributes:
      out, work: addresses of the store and of the work area.
      tokenizer: its fingerprint; its file is in the work area.
      annotator: who writes the plans; includes its cache and budget, but not its key.
      judge: a model that judges the plans, if any; the same holds for it.
      code: version of the source code that makes the books.
      run: a name for this run; a process opens one annotator and one judge per run.
      transcripts: address of a folder for the transcripts as text, or None.
    """

    options: ResolvedOptions
    out: str
    work: str
    tokenizer: str
    annotator: AnnotatorSpec
    judge: EntailmentSpec
    code: str
    run: str
    transcripts: str | None = None


@dataclass(frozen=True)
class NovelRow:
    """The facts about one novel, passed from step to step.

    Attributes:
      address: where it was read. file: the last part of the address.
      sha256, size: of the file's bytes.
      words: words of narrative. chapters: as the library counts them. units: all narrative units.
      account: where every word of the file went, as in ``polaris segment --json``; None if the file was not read.
      status: ``read`` (a novel), then ``built``; or, with a ``reason``, ``rejected``, ``duplicate``, ``unfinished``
        (the annotator stopped; run again to continue) or ``error`` (a defect).
      of: sha256 of the book that a duplicate repeats.
      sketch: MinHash of its prose, hex.
      book: key of its finished book. facts: facts of that book.
      fresh: steps that were done in this run, not found in the work area.
      seconds: of those steps, by stage. ledger: that of the process's annotator and judge when the book was done.
    """

    address: str
    file: str
    sha256: str = ""
    size: int = 0
    title: str = ""
    author: str = ""
    structure: str = ""
    chapters: int = 0
    units: int = 0
    words: int = 0
    account: dict | None = None
    status: str = "read"
    reason: str = ""
    of: str = ""
    sketch: str = ""
    book: str = ""
    facts: dict = field(default_factory=dict)
    fresh: tuple[str, ...] = ()
    seconds: dict = field(default_factory=dict)
    ledger: dict = field(default_factory=dict)

    @property
    def order(self) -> tuple[str, str, str, str]:
        """Sort key of the book in the store: author, title and content, independent of the file's place."""
        return author_key(self.author), title_key(self.title), self.sha256, self.file


def survey(job: Job, address: str) -> NovelRow:
    """Reads one novel: whether it is accepted, its length, and a sketch of its prose for comparison with others."""
    timer, row = StageTimer(), NovelRow(address, storage.name_of(address), title=Path(address).stem)
    try:
        with timer("read"):
            content = storage.read(address)
            if content is None:
                return replace(row, status="rejected", reason="No such file.")
        row = replace(row, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
        key = work_area.key(novel=row.sha256, name=row.file, code=job.code, options=job.options.of_reading(address))
        file = storage.join(job.work, "surveys", f"{key}.json")
        known = storage.read_json(file)
        if known is None:
            known = _survey(job, row, content, timer)
            with timer("write"):
                storage.write_json(file, known)
            row = replace(row, fresh=("survey",))
        return replace(row, **known, seconds=dict(timer.seconds))
    except Exception as error:  # a defect in one book must not cost the others
        return replace(row, status="error", reason=_defect(error), seconds=dict(timer.seconds))


def survey_all(job: Job, addresses: Sequence[str], progress: Callable[[str, int, int], None] | None) -> list[NovelRow]:
    """``survey`` of every address, in order; ``progress`` is called with (``reading``, number done, total)."""
    rows = []
    for number, address in enumerate(addresses):
        if progress:
            progress("reading", number, len(addresses))
        rows.append(survey(job, address))
    return rows


def _survey(job: Job, row: NovelRow, content: bytes, timer: StageTimer) -> dict:
    options = job.options
    try:
        with timer("segment"):
            novel = _novel(row, content, options)
            record = segment_record(novel)
    except InputError as error:
        return {"status": "rejected", "reason": f"It cannot be read: {error.advice}."}
    found = {
        "title": novel.title,
        "author": novel.author,
        "structure": novel.structure,
        "units": record["unit_count"],
        "chapters": record["chapter_count"],
        "words": sum(count_words(chapter.text) for chapter in novel.chapters),
        "account": record["account"],
    }
    if not novel.accepted:
        return found | {"status": "rejected", "reason": novel.reason}
    with timer("compare"):
        return found | {"sketch": signature(chapter.text for chapter in novel.chapters).hex()}


def _novel(row: NovelRow, content: bytes, options: ResolvedOptions) -> Novel:
    """Reads a scratch copy with the same name, because a book without a title takes the name of its file."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / row.file
        file.write_bytes(content)
        return read_novel(file, **options.of_reading(row.address))


def choose(job: Job, rows: Sequence[NovelRow]) -> list[NovelRow]:
    """All novels in the order of the store, with duplicates marked and each with the key of the book to make.

    Also writes the keys of all books to ``WORK/plan.json``, to measure progress.
    """
    # The longest copy is kept; sha256 and name break ties, so the order of arrival does not matter.
    novels = sorted((row for row in rows if row.status == "read"), key=lambda row: (-row.words, row.sha256, row.file))
    authors, titles = [row.order[0] for row in novels], [row.order[1] for row in novels]
    duplicates = find_duplicates(authors, titles, [bytes.fromhex(row.sketch) for row in novels], job.options.similarity)
    marked = {
        one.index: replace(
            novels[one.index],
            status="duplicate",
            of=novels[one.of].sha256,
            reason=f"It is the same work as {novels[one.of].file} ({novels[one.of].title}): {one.why}.",
        )
        for one in duplicates
    }
    chosen = [
        replace(row, book=book_key(job, row)) if number not in marked else marked[number]
        for number, row in enumerate(novels)
    ]
    storage.write_json(storage.join(job.work, "plan.json"), {"books": [row.book for row in chosen if row.book]})
    return sorted([*chosen, *(row for row in rows if row.status != "read")], key=lambda row: row.order)


def book_key(job: Job, row: NovelRow) -> str:
    """A hash of everything that decides a book's tokens."""
    return work_area.key(
        novel=row.sha256,
        name=row.file,
        code=job.code,
        tokenizer=job.tokenizer,
        reading=job.options.of_reading(row.address),
        options=job.options.of_planning(),
        annotator=annotator_identity(job.annotator),
        judge=job.judge.identity(),
    )


def annotator_identity(spec: AnnotatorSpec) -> dict:
    """The identity of a spec's annotator, without opening it."""
    if spec.client is None:
        return {"name": OfflineAnnotator.name, "version": OfflineAnnotator.version}
    return {
        "name": spec.client.identity,
        "version": LLMAnnotator.version,
        "samples": spec.samples,
        "temperature": spec.temperature,
        "context_tokens": spec.context_tokens,
        "thinking_tokens": spec.thinking_tokens,
        "structured": spec.client.structured,
        "dials": spec.client.key_identity.removeprefix(spec.client.identity).strip(),
    }


def fallback_of(facts: dict) -> tuple[int, int]:
    """``(fields that fell back to the offline annotator, fields)`` of a finished book."""
    made = facts["trajectories"]
    return sum(sum(one["fallback"].values()) for one in made), sum(sum(one["fields"].values()) for one in made)


def unjudged_of(facts: dict) -> tuple[int, int]:
    """``(bullets that the judge gave no answer for, bullets that it was asked about)`` of a finished book."""
    asked = [one["plan"]["model"] for one in facts["trajectories"] if one["plan"] and one["plan"]["model"]]
    return sum(one["unanswered"] for one in asked), sum(one["bullets"] for one in asked)


def plan_score(facts: dict) -> float | None:
    """The judge's score (0-100) of a finished book's plans by their bullets; None for a book without a trajectory."""
    reviews = [one["plan"] for one in facts["trajectories"] if one["plan"]]
    bullets = sum(review["bullets"] for review in reviews)
    return sum(review["score"] * review["bullets"] for review in reviews) / bullets if bullets else None


def make(job: Job, row: NovelRow) -> NovelRow:
    """Makes the book of a novel, or finds it finished; a novel that was not chosen is returned unchanged.

    A book that broke gate V11, or whose judge left too much open, counts as unfinished: the failed questions are asked
    again.
    """
    if row.status != "read":
        return row
    timer, started = StageTimer(), time.perf_counter()
    timer.seconds.update(row.seconds)
    try:
        facts = storage.read_json(work_area.facts_at(job.work, row.book))
        if facts is None or not all(_enough(*of(facts), job.options) for of in (fallback_of, unjudged_of)):
            facts = _make(job, row, timer)
            row = replace(row, fresh=(*row.fresh, "book"))
        reason = facts["reason"]
        fallback, fields = fallback_of(facts)
        if not _enough(fallback, fields, job.options):
            reason = (
                f"Gate V11: {fallback:,} of its {fields:,} annotated fields fell back to the offline annotator, "
                f"more than {job.options.max_fallback:.1%}."
            )
        unjudged, asked = unjudged_of(facts)
        if not reason and not _enough(unjudged, asked, job.options):
            reason = (
                f"The judge of plans gave no answer for {unjudged:,} of its {asked:,} bullets, more than "
                f"{job.options.max_fallback:.1%}."
            )
        score = plan_score(facts)
        if not reason and score is not None and score < job.options.min_plan_score:
            reason = f"Its plan scores {score:.1f} of 100, less than --min-plan-score={job.options.min_plan_score:g}."
        row = replace(row, facts=facts, status="rejected" if reason else "built", reason=reason)
        timer.seconds["book"] = time.perf_counter() - started
    except (BudgetSpent, InputError) as error:
        row = replace(row, status="unfinished", reason=str(error))
    except Exception as error:  # a defect in one book must not cost the others
        row = replace(row, status="error", reason=_defect(error))
    return replace(row, seconds=dict(timer.seconds), ledger=_ledger(job))


def _enough(fallback: int, fields: int, options: ResolvedOptions) -> bool:
    return fallback <= options.max_fallback * fields


def novel_of(job: Job, row: NovelRow, timer: StageTimer) -> Novel:
    """Reads a surveyed novel again.

    Raises:
      RuntimeError: its file has changed.
    """
    with timer("read"):
        content = storage.read(row.address)
    if content is None or hashlib.sha256(content).hexdigest() != row.sha256:
        raise RuntimeError("the file changed while the library was built")
    with timer("segment"):
        return _novel(row, content, job.options)


def _make(job: Job, row: NovelRow, timer: StageTimer) -> dict:
    novel = novel_of(job, row, timer)
    tokenizer = open_tokenizer(job.work, job.tokenizer)
    made, reason = [], ""
    try:
        made = make_trajectories(novel, _annotator(job), job.options, tokenizer, timer, _judge(job))
    except NovelRefused as refusal:
        reason = str(refusal)
    with timer("write"):
        return work_area.save(job.work, row.book, made, {"reason": reason})


_PROCESS = uuid.uuid4().hex
_annotators: dict[str, Annotator] = {}
_judges: dict[str, Entailment | None] = {}
_opening = threading.Lock()


def _annotator(job: Job) -> Annotator:
    """This process's annotator for the run. Its threads share one client, and so its budget."""
    with _opening:
        if job.run not in _annotators:
            _annotators[job.run] = open_annotator(job.annotator)
        return _annotators[job.run]


def _judge(job: Job) -> Entailment | None:
    """This process's judge for the run, or None."""
    with _opening:
        if job.run not in _judges:
            _judges[job.run] = open_entailment(job.judge)
        return _judges[job.run]


def close_models(run: str) -> None:
    """Closes this process's annotator and judge of a run, if it opened them."""
    with _opening:
        opened = _annotators.pop(run, None), _judges.pop(run, None)
    for one in opened:
        if one is not None:
            one.close()


def _ledger(job: Job) -> dict:
    """The cost of this process's annotator and judge so far; empty if no language model is asked."""
    annotator, judge = _annotators.get(job.run), _judges.get(job.run)
    clients = [one.client for one in (annotator, judge) if isinstance(one, LLMAnnotator | ModelEntailment)]
    return {"process": _PROCESS} | merged([client.usage for client in clients]) if clients else {}


def spent_so_far(job: Job) -> str:
    """The cost of this process's models, for a progress bar; empty if there is none, and on other machines."""
    ledger = _ledger(job)
    if not ledger:
        return ""
    money = "" if ledger["usd"] is None else f", ${ledger['usd']:,.2f}"
    return f": {ledger['calls']:,} calls, {ledger['tokens']:,} tokens{money}"


def keep_tokenizer(work: str, tokenizer: Tokenizer) -> None:
    """Stores the tokenizer in one file of the work area, for workers on other machines."""
    address = _tokenizer_at(work, tokenizer.fingerprint)
    if storage.read(address) is not None:
        return
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        tokenizer.save(scratch)
        for file in sorted(Path(scratch).iterdir()):
            archive.write(file, file.name)
    storage.write(address, packed.getvalue())


@lru_cache(maxsize=4)
def open_tokenizer(work: str, fingerprint: str) -> Tokenizer:
    """The tokenizer that ``keep_tokenizer`` stored in the work area; opened once per process."""
    address = _tokenizer_at(work, fingerprint)
    packed = storage.read(address)
    if packed is None:
        raise RuntimeError(f"{address} is missing: the work area was changed while the library was built")
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(scratch)
        return load_tokenizer(scratch)


def _tokenizer_at(work: str, fingerprint: str) -> str:
    return storage.join(work, "tokenizers", f"{fingerprint}.zip")


def _defect(error: Exception) -> str:
    """One line about an unexpected exception, with its place in the code."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "polaris_jax" in frame.filename]
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"error: {type(error).__name__}: {error}{place}".replace("\n", " ")
