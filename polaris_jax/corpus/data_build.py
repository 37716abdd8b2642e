"""``build_data``: builds a token store from files of chats, instructions, pairs, texts and trajectories.

Nothing is added to the content of the files; novels that need a plan go through ``build_library``. All rows are read
before the first one is encoded. A broken row stops the build, and all broken rows are named.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from polaris_jax import storage
from polaris_jax.corpus.assemble import REPORT
from polaris_jax.corpus.options import SPLITS, split_shares
from polaris_jax.data import Tokenizer, TokenStore
from polaris_jax.data.chat import ChatTemplate
from polaris_jax.data.encode_rows import EncodedRow, RowEncoder, RowPiece, end_of_text
from polaris_jax.data.formats import Chat, Pair, PlainDocument, PromptCompletion, Record, Row, Source, read_file
from polaris_jax.errors import InputError

_KEPT_CHARACTERS = 200  # most characters of an unused field's value; a longer one is named without its value
_FEW_DOCUMENTS = 20  # with fewer documents, the last parts of long ones are held out instead of whole ones


@dataclass(frozen=True)
class RowOptions:
    """How rows become trajectories.

    Attributes:
      window: most tokens per trajectory; 0 is no limit.
      learn: ``assistant`` (turns of the assistant, completions, texts) or ``all`` (prompts too).
      chat: whether prompts and answers given as texts are put into the model's chat template, if it has one.
      join: whether the texts of a folder are one document, in natural order.
      shares: relative sizes of train, validation and test. seed: for that split.
    """

    window: int = 0
    learn: Literal["assistant", "all"] = "assistant"
    chat: bool = True
    join: bool = False
    shares: tuple[float, float, float] = (90.0, 5.0, 5.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.window < 0:
            raise InputError("--window", self.window, "use a number of tokens, or 0 for no limit")
        if self.learn not in ("assistant", "all"):
            raise InputError("--learn", self.learn, "use assistant or all")
        split_shares(self.shares)


class BrokenRows(InputError):
    """Rows that cannot be read. ``faults`` has one error per row; the message is that of the first."""

    def __init__(self, faults: Sequence[InputError]):
        more = f" (one of {len(faults)} broken rows)" if len(faults) > 1 else ""
        super().__init__(faults[0].field, faults[0].value, faults[0].advice + more)
        self.faults = tuple(faults)


@dataclass
class _File:
    """The entry of a file in the report."""

    file: str
    format: str = ""
    rows: int = 0
    trajectories: int = 0
    tokens: int = 0
    learned: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    unused_fields: Counter = field(default_factory=Counter)
    notes: Counter = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"unused_fields": dict(self.unused_fields), "notes": dict(self.notes)}


def build_data(
    sources: Iterable[Source],
    out: str,
    model: str,
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    options: RowOptions,
    *,
    ignored: Sequence[str] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, Any]:
    """Builds the store; equal files, options and tokenizer give equal bytes.

    Args:
      model: folder of the tokenizer, which names the end-of-text token.
      ignored: names of files without a known format, for the report.
      progress: called with the stage, rows done and rows in total (0: not known yet).

    Returns:
      the report, which is also ``OUT/build_report.json``.

    Raises:
      BrokenRows: some rows cannot be read; no store is written.
      InputError: a file cannot be read, or nothing is left to store.
    """
    rows = _rows(sources, progress)
    if options.join:
        rows = _join(rows)
    _refuse_mixed(rows)
    encoder = RowEncoder(
        tokenizer, template, end_of_text(model, tokenizer), options.window, options.learn, options.chat
    )
    splits = _splits([_key(row.record) for row in rows], options)
    few = sum(isinstance(row.record, PlainDocument) for row in rows) < _FEW_DOCUMENTS
    files: dict[str, _File] = {}
    faults: list[InputError] = []
    counts = {split: {"trajectories": 0, "tokens": 0} for split in SPLITS}
    pairs = 0
    writer = TokenStore.create(out, tokenizer)
    with writer:
        for number, row in enumerate(rows):
            progress("encoding", number, len(rows))
            about = files.setdefault(_file_of(row), _File(_file_of(row), row.format))
            try:
                encoded = encoder(row.record)
            except InputError as error:
                name = error.field if error.field.startswith(row.where) else f"{row.where}: {error.field}"
                faults.append(InputError(name, error.value, error.advice))
                continue
            _note(about, row, encoded)
            whole = splits[_key(row.record)]
            by_part = few and isinstance(row.record, PlainDocument) and len(encoded.pieces) > 1
            for part, piece in enumerate(encoded.pieces):
                split = _split_of_part(part, len(encoded.pieces), options.shares) if by_part else whole
                counts[split]["trajectories"] += 1
                counts[split]["tokens"] += len(piece.trajectory)
                writer.append(piece.trajectory, _meta(row, piece, split, pairs))
            pairs += isinstance(row.record, Pair) and bool(encoded.pieces)
        if faults:
            raise BrokenRows(faults)
        if not any(about.trajectories for about in files.values()):
            first = next(one for about in files.values() for one in about.left_out)
            raise InputError(first["where"], "", f"{first['reason']}; nothing is left to store")
    report = {
        "options": asdict(options),
        "tokenizer": tokenizer.fingerprint,
        "content_hash": TokenStore.open(out).content_hash,
        "files": [about.as_json() for about in files.values()],
        "ignored_files": list(ignored),
        "splits": counts,
        "trajectories": sum(about.trajectories for about in files.values()),
        "tokens": sum(about.tokens for about in files.values()),
        "learned": sum(about.learned for about in files.values()),
        "pairs": pairs,
    }
    storage.write_json(storage.join(out, REPORT), report)
    return report


def _rows(sources: Iterable[Source], progress: Callable[[str, int, int], None]) -> list[Row]:
    """Every row of every file.

    Raises:
      BrokenRows: some rows cannot be read.
    """
    rows: list[Row] = []
    faults: list[InputError] = []
    for source in sources:
        try:
            for row in read_file(source):
                if isinstance(row, InputError):
                    faults.append(row)
                else:
                    rows.append(row)
                progress(f"reading {source.name}", len(rows), 0)
        except InputError as error:
            faults.append(error)
    if faults:
        raise BrokenRows(faults)
    if not rows:
        raise InputError("--data", "", "has no rows")
    return rows


def _refuse_mixed(rows: Sequence[Row]) -> None:
    """Refuses pairs beside other rows: pairs are learned in another way, so they need a store of their own.

    Raises:
      InputError: there are both pairs and other rows.
    """
    pair = next((row for row in rows if isinstance(row.record, Pair)), None)
    other = next((row for row in rows if not isinstance(row.record, Pair)), None)
    if pair is not None and other is not None:
        advice = f"is a preference pair and {other.where} is none; build one store of pairs and one of the rest"
        raise InputError(pair.where, pair.format, advice)


def _join(rows: Sequence[Row]) -> list[Row]:
    """Joins the documents of a folder into one, in the order of their files."""
    joined: dict[str, Row] = {}
    others: list[Row] = []
    for row in rows:
        if not isinstance(row.record, PlainDocument) or row.format == "text":
            others.append(row)
            continue
        folder = row.where.rpartition("/")[0]
        held = joined.get(folder)
        if held is None:
            joined[folder] = Row(folder or "folder", row.format, row.record, row.unused)
            continue
        assert isinstance(held.record, PlainDocument)
        text = f"{held.record.text.rstrip()}\n\n{row.record.text.lstrip()}"
        record = PlainDocument(text, folder or held.record.title, (*held.record.dropped, *row.record.dropped))
        unused = held.unused | {name: value for name, value in row.unused.items() if name not in held.unused}
        joined[folder] = Row(held.where, held.format, record, unused)
    return [*joined.values(), *others]


def _note(about: _File, row: Row, encoded: EncodedRow) -> None:
    about.rows += 1
    about.trajectories += len(encoded.pieces)
    about.tokens += sum(len(piece.trajectory) for piece in encoded.pieces)
    about.learned += sum(piece.learned for piece in encoded.pieces)
    about.unused_fields.update(dict.fromkeys(row.unused, 1))
    about.notes.update(dict.fromkeys(encoded.notes, 1))
    if encoded.left_out:
        about.left_out.append({"where": row.where, "reason": encoded.left_out})


def _file_of(row: Row) -> str:
    """The file of a row: ``where`` without its line."""
    name, mark, number = row.where.rpartition(" row " if " row " in row.where else ":")
    return name if mark and number.isdecimal() else row.where


def _meta(row: Row, piece: RowPiece, split: str, pair: int) -> dict[str, Any]:
    meta: dict[str, Any] = {"format": row.format, "where": row.where, "split": split, **piece.facts}
    if isinstance(row.record, PlainDocument) and row.record.title:
        meta["title"] = row.record.title
    if isinstance(row.record, Pair):
        meta["pair"] = pair
    if row.unused:
        meta["unused"] = {name: _short(value) for name, value in row.unused.items()}
    return meta


def _short(value: Any) -> Any:
    """A JSON value, or null if it is too long for the manifest: then only the field's name is stored."""
    text = json.dumps(storage.finite(value), ensure_ascii=False, default=str)
    return json.loads(text) if len(text) <= _KEPT_CHARACTERS else None


def _key(record: Record) -> str:
    """A key whose rows must stay in the same split: rows with the same prompt, or of one document."""
    if isinstance(record, Pair):
        return "\n".join(message["content"] for message in record.prompt)
    if isinstance(record, PromptCompletion):
        return record.prompt
    if isinstance(record, Chat):
        return next((message["content"] for message in record.messages if message["role"] == "user"), "")
    return record.text


def _splits(keys: Iterable[str], options: RowOptions) -> dict[str, str]:
    """The split of every key, by shares of the keys in an order that depends only on the seed and the keys."""
    digests = {hashlib.sha256(f"{options.seed}\0{key}".encode("utf-8", "replace")).digest(): key for key in keys}
    order = [digests[digest] for digest in sorted(digests)]
    total = sum(options.shares)
    held = [math.floor(len(order) * share / total) for share in options.shares[1:]]
    names = [*(["validation"] * held[0]), *(["test"] * held[1])]
    names += ["train"] * (len(order) - len(names))
    return dict(zip(order, names, strict=True))


def _split_of_part(part: int, parts: int, shares: Sequence[float]) -> str:
    """The split of a document's part; the last parts are held out."""
    validation, test = (math.floor(parts * share / sum(shares)) for share in shares[1:])
    if part >= parts - test:
        return "test"
    return "validation" if part >= parts - test - validation else "train"
