"""``polaris inspect``: look inside a transcript or a store: stages, counts, grammar verdict, as table, JSON or page."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from polaris_jax import storage
from polaris_jax.commands.flag_types import file_to_write, whole
from polaris_jax.errors import InputError
from polaris_jax.options import NOT_NEGATIVE
from polaris_jax.trajectory import check, describe_transcript, split_stages

if TYPE_CHECKING:
    from polaris_jax.commands.inspect_row import StoredRow
    from polaris_jax.data import Tokenizer


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("path", metavar="STORE_OR_TRANSCRIPT")
    parser.add_argument("--mode", choices=("reference", "strict", "corpus"), default="strict")
    parser.add_argument("--tokenizer", help="folder or file that counts tokens, or that a store was made with")
    parser.add_argument(
        "--row", type=whole(NOT_NEGATIVE), metavar="N", help="one trajectory of a store: what is trained on, coloured"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--html",
        type=file_to_write,
        metavar="FILE",
        nargs="?",
        const=True,
        help="write a coloured page (default: beside the transcript); for a store: of the trajectory --row",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    path = a.path.rstrip("/")
    if "://" in path or Path(path).is_dir():
        if a.row is None:
            if a.html is not None:
                raise InputError("--html", a.html, "of a store needs --row=N: which trajectory to show")
            return store(path, as_json=a.json)
        if a.html is True:
            raise InputError("--html", None, "of a store needs a file name: --html=FILE")
        row, spell = _row(path, a.row, a.tokenizer)
        name = f"{path.rsplit('/', 1)[-1]}, row {a.row}"
        if row.meta.get("format", "trajectories") != "trajectories":
            from polaris_jax.commands.inspect_row import show

            return show(row, spell, name, as_json=a.json, page=a.html)
        tokens = row.trajectory.tokens.tolist()
        text = spell.decode(tokens[1:] if tokens and tokens[0] == spell.bos_id else tokens)
        return transcript(text, name, mode=a.mode, tokenizer=a.tokenizer, as_json=a.json, page=a.html)
    if a.row is not None:
        raise InputError("--row", a.row, f"is of a store; {path} is a file")
    page = str(Path(path).with_suffix(".html")) if a.html is True else a.html
    return transcript(_read(Path(path)), path, mode=a.mode, tokenizer=a.tokenizer, as_json=a.json, page=page)


def _read(path: Path) -> str:
    """Reads the text of a transcript's file.

    Raises:
      InputError: no such file, or an empty one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("transcript", str(path), f"cannot be read ({error})") from None
    if not text.strip():
        raise InputError("transcript", str(path), "is empty")
    return text


def _row(path: str, row: int, tokenizer: str | None) -> "tuple[StoredRow, Tokenizer]":
    """Trajectory ``row`` of a store, and the store's tokenizer.

    Raises:
      InputError: no such trajectory, or another tokenizer.
    """
    from polaris_jax.commands.inspect_row import StoredRow
    from polaris_jax.data import TokenStore, load_tokenizer

    if tokenizer is None:
        raise InputError("--tokenizer", None, "--row needs the tokenizer that the store was made with")
    spell = load_tokenizer(tokenizer, stages=False)
    opened = TokenStore.open(path, spell)
    if row >= len(opened):
        raise InputError("--row", row, f"the store has {len(opened)} trajectories: 0 to {len(opened) - 1}")
    return StoredRow(opened.read(row), opened.meta(row)), spell


def transcript(text: str, name: str, *, mode: str, tokenizer: str | None, as_json: bool, page: str | None) -> int:
    """Prints every stage with its words, tokens and verdict; returns 0 for a valid transcript, 1 for an invalid one.

    Args:
      name: its name in the table and on the page. page: address of the coloured page, if wanted.

    Raises:
      InputError: the text is not a transcript.
    """
    stages = describe_transcript(text, mode)
    count, counted_by = token_counter(tokenizer)
    for row, stage in zip(stages, split_stages(text), strict=True):
        row["tokens"] = count(text[stage.start : stage.end])
    verdict = check(text, mode)
    if page is not None:
        from polaris_jax.report import transcript_html

        storage.write(page, transcript_html(text, name.rsplit("/", 1)[-1], count).encode())
        print(page, file=sys.stderr)
    if as_json:
        for row in stages:
            row["violation"] = None if row["violation"] is None else str(row["violation"])
        print(
            json.dumps(
                {
                    "path": name,
                    "mode": mode,
                    "ok": verdict.ok,
                    "truncated": verdict.truncated,
                    "tokenizer": counted_by,
                    "stages": stages,
                    "violations": [str(v) for v in verdict.violations],
                },
                ensure_ascii=False,
            )
        )
        return 0 if verdict else 1
    table = Table("#", "stage", "words", "characters", "tokens", "verdict", title=name, caption=f"tokens: {counted_by}")
    for number, row in enumerate(stages):
        table.add_row(
            str(number),
            row["role"],
            f"{row['words']:,}",
            f"{row['chars']:,}",
            f"{row['tokens']:,}",
            "ok" if row["ok"] else str(row["violation"]),
        )
    console = Console()
    console.print(table)
    if verdict:
        console.print(f"[green]valid[/green] ({mode}, {verdict.family}{', truncated' if verdict.truncated else ''})")
    else:
        console.print(
            f"[red]invalid[/red] ({mode}), {len(verdict.violations)} violations; the first: {verdict.violations[0]}"
        )
    return 0 if verdict else 1


def token_counter(tokenizer: str | None) -> tuple[Callable[[str], int], str]:
    """A token counter and its name: the given tokenizer, else the installed SmolLM2's, else an estimate."""
    if tokenizer is not None:
        from polaris_jax.data import load_tokenizer

        spell = load_tokenizer(tokenizer)
        return lambda text: len(spell.encode(text)), tokenizer
    try:
        from polaris_jax.models.gguf import packaged_gguf, read_tokenizer

        bpe = read_tokenizer(packaged_gguf())
    except (ImportError, InputError):
        return lambda text: round(len(text) / 4), "an estimate, four characters each; give --tokenizer to count"
    return lambda text: len(bpe.encode(text, add_special_tokens=False).ids), "SmolLM2's; give --tokenizer for another"


def store(path: str, *, as_json: bool) -> int:
    """Prints every trajectory of a token store with its length; returns 1 if stored data are damaged."""
    from polaris_jax.data import TokenStore

    opened = TokenStore.open(path)
    damage = opened.verify()
    if as_json:
        rows = [{"tokens": entry.n_tokens, **entry.meta} for entry in opened.entries]
        print(
            json.dumps(
                {
                    "path": path,
                    "ok": not damage,
                    "content_hash": opened.content_hash,
                    "damage": damage,
                    "trajectories": rows,
                },
                ensure_ascii=False,
            )
        )
        return 1 if damage else 0
    table = Table(
        "#",
        "title",
        "volume",
        "tokens",
        title=f"{path}: {len(opened)} trajectories, {int(opened.lengths.sum()):,} tokens",
    )
    for number, entry in enumerate(opened.entries):
        table.add_row(str(number), _title(entry.meta), str(entry.meta.get("volume", "")), f"{entry.n_tokens:,}")
    console = Console()
    console.print(table)
    console.print("\n".join(f"[red]damaged[/red] {line}" for line in damage) or f"whole ({opened.content_hash[:12]})")
    return 1 if damage else 0


def _title(meta: dict) -> str:
    """The title of a trajectory: its book, or the place of its row, with its part or its side of a pair."""
    part = f"{meta['part']}/{meta['parts']}" if meta.get("parts", 1) > 1 else str(meta.get("side", ""))
    return f"{meta.get('title') or meta.get('where', '')} {part}".strip()
