"""Hooks of the site (``mkdocs.yml``): pages made from the code and from files outside ``docs/``.

The reference of every verb and config field is read from the parsers and the dataclasses each time the site is built,
so it cannot go stale. Links between documents are written as they work on GitHub and are turned into links of the site.
"""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/polaris-jax/polaris_jax/blob/main/"


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/config.md": config_page(),
        "results.md": (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8"),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turns links to files of the repository into links of the site, or of the repository."""
    here = Path("benchmarks" if page.file.src_uri == "results.md" else "docs") / Path(page.file.src_uri).parent

    def link(found: re.Match[str]) -> str:
        target, anchor = found[2], found[3] or ""
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path = os.path.normpath(here / target)
        uri = "results.md" if path == "benchmarks/RESULTS.md" else path.removeprefix("docs/")
        if path.startswith("docs/") or uri == "results.md":
            return f"{found[1]}({os.path.relpath(uri, Path(page.file.src_uri).parent)}{anchor})"
        return f"{found[1]}({REPOSITORY}{path}{anchor})" if (ROOT / path).exists() else found[0]

    return re.sub(r"(\[[^\]]*\])\(([^)#\s]+)(#[^)\s]*)?\)", link, markdown)


def commands_page() -> str:
    """Every verb with its flags, from the parsers."""
    from polaris_jax.cli import _parser
    from polaris_jax.commands import VERBS

    lines = [
        "# Commands",
        "",
        "Made from the parsers of the installed version; `polaris VERB --help` says the same.",
        "",
    ]
    for verb in VERBS:
        parser = _parser(verb)
        sub = _choices(parser)[verb]
        lines += _verb(f"polaris {verb}", sub, 2)
    return "\n".join(lines)


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _verb(name: str, parser: argparse.ArgumentParser, level: int) -> list[str]:
    lines = [f"{'#' * level} `{name}`", "", _cell(parser.description or ""), ""]
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        names = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.metavar or action.dest}`"
        text = (action.help or "") % {"default": action.default, "prog": name, "dest": action.dest}
        choices = f" ({' | '.join(map(str, action.choices))})" if action.choices else ""
        default = "" if action.default in (None, False, [], "", argparse.SUPPRESS) else f"`{action.default}`"
        rows.append(f"| {names} | {_cell(text + choices)} | {_cell(default)} |")
    if rows:
        lines += ["| flag | what | default |", "|---|---|---|", *rows, ""]
    for inner, sub in _choices(parser).items():
        lines += _verb(f"{name} {inner}", sub, level + 1)
    return lines


def config_page() -> str:
    """Every field of both configs with default, meaning and bounds, from the dataclasses."""
    from polaris_jax.rl.config import RlConfig
    from polaris_jax.training.config import TrainConfig

    lines = ["# Config fields", "", "Override any of them as `--config.section.field=value`.", ""]
    for title, cls in (("polaris train", TrainConfig), ("polaris rl", RlConfig)):
        lines += [f"## `{title}`", "", *_fields(cls)]
    return "\n".join(lines)


def _fields(cls: type) -> list[str]:
    from dataclasses import MISSING

    from polaris_jax.options import fields_of

    lines, section = [], None
    for name, field in sorted(fields_of(cls).items(), key=lambda item: (item[0].count("."), item[0])):
        above = name.rpartition(".")[0]
        if above != section:
            section = above
            lines += ["", f"### {above or 'at the top'}", "", "| field | what | default |", "|---|---|---|"]
        bounds = field.declared.bounds
        about = field.declared.doc + (f"; {bounds.advice}" if bounds is not None else "")
        about += f" ({' | '.join(field.choices)})" if field.choices else ""
        default = "must be given" if field.default is MISSING else f"`{field.default!r}`"
        lines.append(f"| `{name}` | {_cell(about)} | {_cell(default)} |")
    return [*lines, ""]


def _cell(text: str) -> str:
    """Text inside a table: no bars, no line breaks, no tags."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
