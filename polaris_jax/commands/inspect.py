"""``polaris inspect``: look inside a transcript or a store: stages, counts, grammar verdict, as table, JSON or page."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from polaris_jax.errors import InputError
from polaris_jax.trajectory import check, describe_transcript, split_stages


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The verb's flags."""
    parser.add_argument("path", metavar="STORE_OR_TRANSCRIPT")
    parser.add_argument("--mode", choices=("reference", "strict", "corpus"), default="strict")
    parser.add_argument("--tokenizer", help="folder or file that counts tokens; default SmolLM2's")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--html", metavar="FILE", nargs="?", const="",
                         help="write a coloured page (default: beside it)")


def run(arguments: argparse.Namespace) -> int:
    """Runs the verb; returns the exit code."""
    a = arguments
    path = a.path.rstrip("/")
    if "://" in path or Path(path).is_dir():
        return store(path, as_json=a.json)
    return transcript(Path(path), mode=a.mode, tokenizer=a.tokenizer, as_json=a.json, html=a.html)


def transcript(path: Path, *, mode: str, tokenizer: str | None, as_json: bool, html: str | None) -> int:
    """Every stage with its words, tokens and verdict; returns 0 for a valid transcript, 1 for an invalid one.

    Raises:
      InputError: no such file, an empty one, or no transcript at all.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("transcript", str(path), f"cannot be read ({error})") from None
    if not text.strip():
        raise InputError("transcript", str(path), "is empty")
    stages = describe_transcript(text, mode)
    count, counted_by = token_counter(tokenizer)
    for row, stage in zip(stages, split_stages(text), strict=True):
        row["tokens"] = count(text[stage.start:stage.end])
    verdict = check(text, mode)
    if html is not None:
        from polaris_jax.report import transcript_html

        page = Path(html) if html else path.with_suffix(".html")
        page.write_text(transcript_html(text, path.name, count), encoding="utf-8")
        print(page, file=sys.stderr)
    if as_json:
        for row in stages:
            row["violation"] = None if row["violation"] is None else str(row["violation"])
        print(json.dumps({"path": str(path), "mode": mode, "ok": verdict.ok, "truncated": verdict.truncated,
                          "tokenizer": counted_by, "stages": stages,
                          "violations": [str(v) for v in verdict.violations]}, ensure_ascii=False))
        return 0 if verdict else 1
    table = Table("#", "stage", "words", "characters", "tokens", "verdict", title=str(path),
                  caption=f"tokens: {counted_by}")
    for number, row in enumerate(stages):
        table.add_row(str(number), row["role"], f"{row['words']:,}", f"{row['chars']:,}",
                      f"{row['tokens']:,}", "ok" if row["ok"] else str(row["violation"]))
    console = Console()
    console.print(table)
    if verdict:
        console.print(f"[green]valid[/green] ({mode}, {verdict.family}{', truncated' if verdict.truncated else ''})")
    else:
        console.print(f"[red]invalid[/red] ({mode}), {len(verdict.violations)} violations; the first: "
                      f"{verdict.violations[0]}")
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
    """Every trajectory of a token store with its length; returns 1 when stored data are damaged."""
    from polaris_jax.data import TokenStore

    opened = TokenStore.open(path)
    damage = opened.verify()
    if as_json:
        rows = [{"tokens": entry.n_tokens, **entry.meta} for entry in opened.entries]
        print(json.dumps({"path": path, "ok": not damage, "content_hash": opened.content_hash, "damage": damage,
                          "trajectories": rows}, ensure_ascii=False))
        return 1 if damage else 0
    table = Table("#", "title", "volume", "tokens", title=f"{path}: {len(opened)} trajectories, "
                                                         f"{int(opened.lengths.sum()):,} tokens")
    for number, entry in enumerate(opened.entries):
        table.add_row(str(number), str(entry.meta.get("title", "")), str(entry.meta.get("volume", "")),
                      f"{entry.n_tokens:,}")
    console = Console()
    console.print(table)
    console.print("\n".join(f"[red]damaged[/red] {line}" for line in damage) or f"whole ({opened.content_hash[:12]})")
    return 1 if damage else 0
