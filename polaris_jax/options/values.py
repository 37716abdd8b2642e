"""Values of options: checks them, builds their dataclass, flattens it, and changes copies."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from polaris_jax.errors import InputError
from polaris_jax.options.fields import OptionField, fields_of, sections_of
from polaris_jax.options.names import current_rows, known_name

C = TypeVar("C")


def build(
    cls: type[C], rows: Mapping[str, object], where: str = "config", start: str = "", complete: Collection[str] = ()
) -> C:
    """Builds an instance of ``cls`` from flat rows.

    Args:
      rows: values by dotted name. Lists may replace tuples, a field's ``blank`` may replace None, and former names are
        accepted.
      where: what the names belong to, in the caller's words.
      start: where the user finds all fields, for the error about a missing one.
      complete: fields that must be given; the others have their defaults.

    Raises:
      InputError: an unknown name (with the nearest known one), a missing field, or an impossible value.
    """
    fields, given = fields_of(cls), _spread(cls, current_rows(cls, rows), where)
    for name, value in given.items():
        known_name(name, value, fields, where)
    for name in complete:
        if name not in given:
            raise InputError(f"{where}.{name}", None, f"is missing; start from {start}")
    return _make(cls, {name: _checked(fields[name], value, where) for name, value in given.items()})


def check(instance: Any, where: str = "") -> None:
    """Refuses an instance that was made with an impossible value.

    Args:
      where: what its fields belong to, in the caller's words; "" gives only their names.

    Raises:
      InputError: names the first such value.
    """
    for name, field in fields_of(type(instance)).items():
        _checked(field, _get(instance, name), where)


def flatten(instance: Any) -> dict[str, object]:
    """``{"optim.learning_rate": 2e-5, ...}`` in sorted order, as ``build`` reads it.

    None is written as the field's blank. Without a blank, a None that is the default is left out.
    """
    rows = {}
    for name, field in fields_of(type(instance)).items():
        value = _get(instance, name)
        if value is None and (field.declared.blank is not None or field.default is None):
            value = field.declared.blank
            if value is None:
                continue
        rows[name] = value
    return rows


def replace(instance: C, changes: Mapping[str, object], where: str = "config") -> C:
    """A copy with other values, by dotted name: ``replace(config, {"mesh.fsdp": 2})``.

    Raises:
      InputError: an unknown name or an impossible value.
    """
    cls = type(instance)
    fields, given = fields_of(cls), _spread(cls, current_rows(cls, changes), where)
    for name, value in given.items():
        known_name(name, value, fields, where)
    return _make(cls, {name: _checked(fields[name], value, where) for name, value in given.items()}, instance)


def _get(instance: Any, name: str) -> Any:
    for part in name.split("."):
        instance = getattr(instance, part)
    return instance


def _make(cls: type[C], values: Mapping[str, object], base: Any = None) -> C:
    """Makes ``cls`` from values by dotted name; other values come from ``base``, or are the defaults."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if rest:
            inner.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for head, changes in inner.items():
        before = defaults[head] if base is None else getattr(base, head)
        own[head] = _make(type(before), changes, before)
    return cls(**own) if base is None else dataclasses.replace(base, **own)


def _spread(cls: type, rows: Mapping[str, object], where: str) -> dict[str, object]:
    """Rows without values for whole sections: an instance or (``as_row``) a list is replaced by its fields."""
    sections, spread = sections_of(cls), {}
    for name, value in rows.items():
        if name not in sections:
            spread[name] = value
            continue
        kind, declared = sections[name]
        inner = list(fields_of(kind))
        if isinstance(value, kind):
            spread |= {f"{name}.{field}": _get(value, field) for field in inner}
        elif declared.as_row and isinstance(value, list | tuple) and len(value) == len(dataclasses.fields(kind)):
            names = [field.name for field in dataclasses.fields(kind)]
            spread |= {f"{name}.{field}": one for field, one in zip(names, value, strict=True)}
        else:
            raise InputError(f"{where}.{name}", value, f"a group of values: {', '.join(inner)}")
    return spread


def _checked(field: OptionField, value: Any, where: str) -> Any:
    """The value for the dataclass: tuples instead of lists, None instead of a blank.

    Raises:
      InputError: a wrong type, an unknown choice, or a number out of bounds.
    """
    about, name = field.declared, f"{where}.{field.name}" if where else field.name
    if about.blank is not None and _tuples(value) == about.blank and not isinstance(value, bool):
        return None
    if not _fits(value, field):
        like = "" if field.written in (None, dataclasses.MISSING) else f", like {field.written!r}"
        raise InputError(name, value, f"must be {field.kind.__name__}{like}")
    if field.choices and value is not None and value not in field.choices:
        raise InputError(name, value, f"choose one of {', '.join(field.choices)}")
    if about.bounds is not None and value is not None and not about.bounds.hold(value):
        raise InputError(name, value, about.bounds.advice)
    return _tuples(value)


def _fits(value: Any, field: OptionField) -> bool:
    if value is None:
        return field.optional
    if isinstance(value, bool):
        return field.kind is bool
    return isinstance(value, {float: (float, int), tuple: (tuple, list)}.get(field.kind, field.kind))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
