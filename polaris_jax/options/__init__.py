"""Options as frozen dataclasses: beside each field stand its default, what it means and what it may be.

``option`` declares a field, ``section`` one that is a dataclass of options itself. ``build`` makes the dataclass from
flat rows (``{"optim.b1": 0.9}``), refusing unknown names and impossible values in one line; ``flatten`` gives the rows
back. ``replace`` and ``override`` change fields by their dotted names. Nothing here knows how a person writes them.
"""

from polaris_jax.options.bounds import ANY_NUMBER, AT_LEAST_1, NOT_NEGATIVE, POSITIVE, SHARE, Bounds
from polaris_jax.options.fields import OptionField, again, execution_fields, fields_of, option, section
from polaris_jax.options.names import current_rows, known_name
from polaris_jax.options.overrides import override, read_override
from polaris_jax.options.values import build, check, flatten, replace

__all__ = [
    "ANY_NUMBER",
    "AT_LEAST_1",
    "NOT_NEGATIVE",
    "POSITIVE",
    "SHARE",
    "Bounds",
    "OptionField",
    "again",
    "build",
    "check",
    "current_rows",
    "execution_fields",
    "fields_of",
    "flatten",
    "known_name",
    "option",
    "override",
    "read_override",
    "replace",
    "section",
]
