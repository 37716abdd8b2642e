"""Records which fields of a config a run reads."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from polaris_jax.options.fields import fields_of, sections_of

# Functions that copy, compare, check or write whole configs. Their reads do not count.
_COMPARING = ("__post_init__", "__eq__", "__hash__", "__repr__")
_ONLY_HANDLED = ("polaris_jax.options", "polaris_jax.training.config.door", "dataclasses", "copy")


@contextmanager
def recorded(cls: type) -> Iterator[set[tuple[type, str]]]:
    """Yields a set that collects the ``(section class, field name)`` of every read of ``cls`` or a section of it."""
    sections = {cls, *(section for section, _ in sections_of(cls).values())}
    found: set[tuple[type, str]] = set()
    # A section may inherit the method of another: only a class with a method of its own gets it back.
    before = {section: section.__dict__.get("__getattribute__") for section in sections}

    def noting(section):
        names = set(section.__dataclass_fields__)

        def read(self, name):
            caller = sys._getframe(1)
            if name in names and not (
                caller.f_globals.get("__name__", "").startswith(_ONLY_HANDLED)
                or caller.f_code.co_name.startswith(("check_", "_check"))
                or caller.f_code.co_name in _COMPARING
            ):
                found.add((type(self), name))
            return object.__getattribute__(self, name)

        return read

    try:
        for section in sections:
            section.__getattribute__ = noting(section)
        yield found
    finally:
        for section, method in before.items():
            if method is None:
                del section.__getattribute__
            else:
                section.__getattribute__ = method


def unread(cls: type, found: set[tuple[type, str]]) -> list[str]:
    """The dotted names of the fields of ``cls`` that ``found``, a result of ``recorded``, does not hold."""
    classes = {"": cls} | {name: section for name, (section, _) in sections_of(cls).items()}
    owners = {name: (classes[name.rpartition(".")[0]], name.rpartition(".")[2]) for name in fields_of(cls)}
    return sorted(name for name, owner in owners.items() if owner not in found)
