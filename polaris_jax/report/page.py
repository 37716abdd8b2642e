"""Renders the templates of this room to a string."""

from functools import cache

from jinja2 import Environment, PackageLoader

from polaris_jax.report.formats import FILTERS


@cache
def environment() -> Environment:
    """A Jinja environment that always escapes, so that a book's text never becomes markup."""
    jinja = Environment(
        loader=PackageLoader("polaris_jax.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters.update(FILTERS)
    return jinja


def render(template: str, **values) -> str:
    """Renders a template of ``report/templates`` with these values."""
    return environment().get_template(template).render(**values)
