"""Word processors' files (``.docx``, ``.odt``) as text: ``#`` before headings, a blank line between paragraphs.

pandoc reads them in its sandbox (the wheel ``pypandoc_binary``, extra ``documents``) and returns its own JSON
(pandoc-types 1.23, ``Text.Pandoc.Definition``). Text is kept without formatting: italics and links become their words,
lists and table rows become lines. Tracked changes are accepted. Everything that is not part of the text is counted.
"""

import json
import subprocess
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from polaris_jax.errors import InputError

RULE = "* * *"  # between scenes
_ODT = "application/vnd.oasis.opendocument.text"
_SECONDS = 600
_FRONT = ("title", "subtitle", "author", "date", "abstract")  # pandoc keeps paragraphs of these styles outside the text
_INLINES = ("Emph", "Strong", "Underline", "Strikeout", "Superscript", "Subscript", "SmallCaps")
_QUOTES = {"SingleQuote": ("‘", "’"), "DoubleQuote": ("“", "”")}


@dataclass(frozen=True)
class WordText:
    """The declared ``title`` and ``author`` of a file, its ``body``, and a description of what was ``dropped``.

    ``front`` is the text above the body with styles of its own: title, subtitle, author, date, abstract.
    """

    title: str
    author: str
    front: tuple[str, ...]
    body: str
    dropped: tuple[str, ...]

    @property
    def text(self) -> str:
        """Front and body."""
        return "\n\n".join(filter(None, (*self.front, self.body))) + "\n"


def word_format(file: str | Path | BytesIO) -> str | None:
    """``docx`` or ``odt``, by the content of the archive; None for anything else."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if "[Content_Types].xml" in names and any(name.startswith("word/") for name in names):
                return "docx"
            if "mimetype" in names and archive.read("mimetype").decode("ascii", "replace").strip().startswith(_ODT):
                return "odt"
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError):
        return None
    return None


def read_word(data: bytes, name: str) -> WordText:
    """The text of a ``.docx`` or ``.odt`` file.

    Args:
      name: name of the file, for errors.

    Raises:
      InputError: pandoc is not installed or cannot read the file, or the file has no text.
    """
    form = word_format(BytesIO(data))
    if form is None:
        raise InputError("document", name, "is no .docx or .odt file")
    try:
        import pypandoc
    except ModuleNotFoundError:
        advice = "reading .docx and .odt needs pandoc; run: pip install 'polaris-jax[documents]'"
        raise InputError("document", name, advice) from None
    command = [pypandoc.get_pandoc_path(), f"--from={form}", "--to=json", "--sandbox"]
    try:
        ran = subprocess.run(command, input=data, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise InputError("document", name, f"pandoc has not read it in {_SECONDS} s; save it anew") from None
    if ran.returncode:
        reason = ran.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise InputError("document", name, f"is no readable .{form} file ({reason[0][:160]}); open it and save it anew")
    tree = json.loads(ran.stdout)
    writer = _Writer()
    said = {key: writer.meta(tree["meta"].get(key)) for key in _FRONT}
    front, body = tuple(filter(None, said.values())), "\n\n".join(writer.blocks(tree["blocks"]))
    if not front and not body.strip():
        raise InputError("document", name, "has no text in it")
    dropped = tuple(f"{count} {what}{'' if count == 1 else 's'}" for what, count in sorted(writer.dropped.items()))
    return WordText(said["title"], said["author"], front, body, dropped)


class _Writer:
    """Walks pandoc's tree; ``dropped`` counts elements that are not text."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()

    def meta(self, value: Any) -> str:
        """The text of a metadata field."""
        if value is None:
            return ""
        if value["t"] == "MetaList":
            return ", ".join(filter(None, map(self.meta, value["c"])))
        if value["t"] == "MetaInlines":
            return self.line(value["c"])
        if value["t"] == "MetaBlocks":
            return "\n\n".join(self.blocks(value["c"]))
        return value["c"] if isinstance(value.get("c"), str) else ""

    def blocks(self, blocks: list[Any]) -> Iterator[str]:
        """The paragraphs of a list of blocks, without empty ones."""
        for block in blocks:
            yield from filter(None, self.block(block["t"], block.get("c")))

    def block(self, kind: str, content: Any) -> Iterator[str]:
        """The paragraphs of one block."""
        if kind in ("Para", "Plain"):
            yield self.line(content)
        elif kind == "Header":
            if said := self.line(content[2]).replace("\n", " "):
                yield f"{'#' * content[0]} {said}"
        elif kind == "HorizontalRule":
            yield RULE
        elif kind == "CodeBlock":
            yield content[1]
        elif kind == "LineBlock":
            yield "\n".join(map(self.line, content))
        elif kind == "BlockQuote":
            yield from self.blocks(content)
        elif kind in ("Div", "Figure"):
            yield from self.blocks(content[-1])
        elif kind in ("BulletList", "OrderedList"):
            items = content if kind == "BulletList" else content[1]
            yield "\n".join("- " + "\n  ".join(self.blocks(item)) for item in items)
        elif kind == "DefinitionList":
            for term, definitions in content:
                yield self.line(term)
                for definition in definitions:
                    yield from self.blocks(definition)
        elif kind == "Table":
            yield "\n".join(filter(None, self.rows(content)))
        else:
            self.dropped[f"passage of {content[0]}" if kind == "RawBlock" else f"block ({kind})"] += 1

    def rows(self, table: Any) -> Iterator[str]:
        """Caption and rows of a table, one line each."""
        yield " ".join(self.blocks(table[1][1]))
        bodies = [row for body in table[4] for part in body[2:4] for row in part]
        for row in [*table[3][1], *bodies, *table[5][1]]:
            yield " | ".join(" ".join(self.blocks(cell[4])) for cell in row[1])

    def line(self, inlines: list[Any]) -> str:
        """The text of inline elements; line breaks are kept."""
        return "".join(self.inline(one["t"], one.get("c")) for one in inlines).strip()

    def inline(self, kind: str, content: Any) -> str:
        if kind == "Str":
            return content
        if kind in ("Space", "SoftBreak"):
            return " "
        if kind == "LineBreak":
            return "\n"
        if kind in _INLINES:
            return self._all(content)
        if kind in ("Span", "Link", "Cite"):
            return self._all(content[1])
        if kind == "Quoted":
            first, last = _QUOTES[content[0]["t"]]
            return f"{first}{self._all(content[1])}{last}"
        if kind in ("Code", "Math"):
            return content[1]
        names = {"Note": "footnote", "Image": "picture", "RawInline": "code of another program"}
        self.dropped[names.get(kind, f"element ({kind})")] += 1
        return ""

    def _all(self, inlines: list[Any]) -> str:
        return "".join(self.inline(one["t"], one.get("c")) for one in inlines)
