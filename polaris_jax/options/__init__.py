"""Options as frozen dataclasses: each field is declared with its default, its meaning and its allowed values.

``option`` declares a field, ``section`` a field that is itself a dataclass of options. ``build`` makes the dataclass
from flat rows (``{"optim.b1": 0.9}``); it refuses unknown names and impossible values with a one-line error.
``flatten`` gives the rows back. ``replace`` and ``override`` change fields by their dotted names. This room does not
read files or command lines.
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
