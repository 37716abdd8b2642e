"""An optional catalogue: a CSV file with the credits of books. It takes precedence over the books themselves."""

import csv
import re
from pathlib import Path

from polaris_jax.errors import InputError
from polaris_jax.library.credits import Credits

_COLUMNS = {
    "file": ("file", "path", "filename", "text#", "etext#", "id"),
    "title": ("title",),
    "author": ("author", "authors", "creator"),
    "translator": ("translator", "translators"),
    "edition": ("edition",),
}
_GUTENBERG_FILE = re.compile(r"(?:pg)?(\d+)(?:-(?:0|8|h|images.*))?$")


class Catalogue:
    """Credits by file name, by its stem, or by Project Gutenberg number (``pg_catalog.csv`` is read unchanged).

    Args:
      path: a CSV file with a header. The columns ``file`` (or ``Text#``), ``title``, ``author`` (or ``Authors``),
        ``translator`` and ``edition`` are read.

    Raises:
      InputError: the file is unreadable, or has no column of file names.
    """

    def __init__(self, path: str | Path):
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError("catalogue", str(path), f"cannot be read: {error}") from error
        self._credits: dict[str, Credits] = {}
        for row in rows:
            said = {str(name).strip().lower(): (value or "").strip() for name, value in row.items() if name}
            found = {field: next((said[n] for n in names if said.get(n)), "") for field, names in _COLUMNS.items()}
            if key := found.pop("file"):
                self._credits[Path(key).name] = Credits(**found)
        if not self._credits:
            raise InputError("catalogue", str(path), "has no column named file (or Text#) that is filled")

    def of(self, path: str | Path) -> Credits:
        """The credits of a file in the catalogue; empty if it is not listed."""
        name, stem = Path(path).name, Path(path).stem
        number = _GUTENBERG_FILE.fullmatch(stem)
        keys = (name, stem, number[1] if number else "")
        return next((self._credits[key] for key in keys if key in self._credits), Credits())
