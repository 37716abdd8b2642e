"""The templates of this room: rendering to a string, and writing a page in one piece."""

import os
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader

from polaris_jax.report.formats import FILTERS


@cache
def environment() -> Environment:
    """Jinja with escaping always on, so that text of a book can never become markup."""
    jinja = Environment(
        loader=PackageLoader("polaris_jax.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    jinja.filters.update(FILTERS)
    return jinja


def render(template: str, **values) -> str:
    """A template of ``report/templates`` with these values."""
    return environment().get_template(template).render(**values)


def write_page(path: Path, page: str) -> Path:
    """Writes to a temporary name beside ``path``, then renames: a reader sees the old page or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(page, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
