"""Declares options, and lists the fields of a dataclass of options by their dotted names."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass
from functools import lru_cache
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from polaris_jax.options.bounds import Bounds

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_KEY = "option"


@dataclass(frozen=True)
class Declaration:
    """The arguments of ``option`` and ``section``, kept beside the field."""

    doc: str
    choices: tuple[str, ...] = ()
    bounds: Bounds | None = None
    execution: bool = False
    blank: Any = None
    formerly: str = ""
    as_row: bool = False


@dataclass(frozen=True)
class OptionField:
    """One field of a dataclass of options or of one of its sections.

    Attributes:
      name: dotted, ``optim.b1``. hint: its type. default: ``dataclasses.MISSING`` if there is none.
      declared: its declaration. execution: whether it, or a section around it, decides how and not what is computed.
      choices: the allowed values, from its declaration or its type; () is no restriction.
    """

    name: str
    hint: Any
    default: Any
    declared: Declaration
    execution: bool
    choices: tuple[str, ...]

    @property
    def kind(self) -> type:
        """``tuple`` of ``tuple[int, ...]``, ``int`` of ``int | None``, ``str`` of ``Literal["a"]``."""
        hint = self.hint
        if get_origin(hint) in (Union, UnionType):
            hint = next(one for one in get_args(hint) if one is not NoneType)
        if get_origin(hint) is Literal:
            return type(get_args(hint)[0])
        return get_origin(hint) or hint

    @property
    def optional(self) -> bool:
        """Whether it may be None."""
        return NoneType in get_args(self.hint)

    @property
    def written(self) -> Any:
        """The default as the user writes it; for None, the field's blank."""
        return self.declared.blank if self.default is None else self.default


def option(
    default: T = MISSING,  # type: ignore[assignment]
    *,
    doc: str,
    choices: Sequence[str] = (),
    bounds: Bounds | None = None,
    execution: bool = False,
    blank: Any = None,
    formerly: str = "",
) -> T:
    """A field of a frozen dataclass.

    Args:
      default: without one, the field must be given.
      doc: one line: its meaning and its unit.
      choices: the allowed values (not needed for a ``Literal``). bounds: the allowed numbers.
      execution: whether it decides how a run is carried out, not what it computes; then a run may be resumed with
        another value.
      blank: what is written for None where None is not possible ("" for a text, 0 for a number).
      formerly: its former name, which is still accepted.
    """
    return _declare(default, Declaration(doc, tuple(choices), bounds, execution, blank, formerly))


def section(default: T, *, doc: str, execution: bool = False, formerly: str = "", as_row: bool = False) -> T:
    """A field that is itself a dataclass of options.

    Args:
      default: an instance; its values are the defaults of its fields.
      doc, execution, formerly: as for ``option``.
      as_row: whether it may also be written as a list of its fields, in order.
    """
    return _declare(default, Declaration(doc, execution=execution, formerly=formerly, as_row=as_row))


def again(cls: type, name: str, default: Any) -> Any:
    """Declares the option ``name`` of ``cls`` again, with another default."""
    found = next(field for field in dataclasses.fields(cls) if field.name == name)
    return _declare(default, found.metadata[_KEY])


def _declare(default: Any, declared: Declaration) -> Any:
    return dataclasses.field(default=default, metadata={_KEY: declared})


def _once(function: F) -> F:
    """Caches the results of a function of a class."""
    return cast(F, lru_cache(maxsize=None)(function))


@_once
def fields_of(cls: type) -> MappingProxyType[str, OptionField]:
    """Every field of ``cls`` and its sections by dotted name, sorted. Fields without a declaration are left out."""
    return MappingProxyType({field.name: field for field in sorted(_walk(cls), key=lambda field: field.name)})


def _walk(cls: type, default: Any = None, prefix: str = "", execution: bool = False) -> Iterator[OptionField]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if _KEY not in field.metadata:
            continue
        declared, value = field.metadata[_KEY], field.default if default is None else getattr(default, field.name)
        name, how = prefix + field.name, execution or declared.execution
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _walk(hints[field.name], value, f"{name}.", how)
        else:
            hint = hints[field.name]
            yield OptionField(name, hint, value, declared, how, declared.choices or _literals(hint))


def _literals(hint: Any) -> tuple[str, ...]:
    """The values of ``Literal["a", "b"]``, or of a union of such types."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(value for one in get_args(hint) for value in _literals(one))
    return get_args(hint) if get_origin(hint) is Literal else ()


@_once
def sections_of(cls: type) -> MappingProxyType[str, tuple[type, Declaration]]:
    """Every section of ``cls``, at any depth, by dotted name: its class and its declaration."""
    return MappingProxyType(dict(_walk_sections(cls, "")))


def _walk_sections(cls: type, prefix: str) -> Iterator[tuple[str, tuple[type, Declaration]]]:
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if _KEY in field.metadata and dataclasses.is_dataclass(hints[field.name]):
            yield prefix + field.name, (hints[field.name], field.metadata[_KEY])
            yield from _walk_sections(hints[field.name], f"{prefix}{field.name}.")


@_once
def former_names(cls: type) -> MappingProxyType[str, str]:
    """``{former dotted name: current dotted name}`` of renamed fields and sections."""
    found = {}
    declared = {name: about for name, (_, about) in sections_of(cls).items()}
    declared |= {name: field.declared for name, field in fields_of(cls).items()}
    for name, about in declared.items():
        if about.formerly:
            found[name.rpartition(".")[0] + "." * ("." in name) + about.formerly] = name
    return MappingProxyType(found)


def execution_fields(cls: type) -> frozenset[str]:
    """Names of the fields that decide how a run is carried out; a run may be resumed with other values for them."""
    return frozenset(name for name, field in fields_of(cls).items() if field.execution)
