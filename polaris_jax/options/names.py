"""Names of fields: the known name nearest to a misspelt one, and the current name of a renamed field."""

import difflib
from collections.abc import Collection, Mapping

from polaris_jax.errors import InputError
from polaris_jax.options.fields import former_names


def known_name(name: str, value: object, known: Collection[str], where: str = "config") -> None:
    """Refuses a name that is not in ``known``.

    Args:
      where: what the name belongs to, in the caller's words.

    Raises:
      InputError: names the nearest field.
    """
    if name not in known:
        near = _nearest(name, known)
        hint = f"did you mean {where}.{near}?" if near else f"the fields are {', '.join(known)}"
        raise InputError(f"{where}.{name}", value, f"no such field; {hint}")


def _nearest(name: str, known: Collection[str]) -> str | None:
    """The field most likely meant: similar as a whole, similar in its last part, or with these initials (``lr``)."""
    leaf = name.rpartition(".")[2]

    def likeness(field: str) -> tuple[float, float]:
        last = field.rpartition(".")[2]
        whole, part = (difflib.SequenceMatcher(None, *pair).ratio() for pair in ((name, field), (leaf, last)))
        initials = "".join(word[0] for word in last.split("_"))
        return max(whole, part, float(len(leaf) > 1 and leaf == initials)), whole

    best = max(known, key=likeness)
    return best if likeness(best)[0] >= 0.5 else None


def current_name(name: str, former: Mapping[str, str]) -> str:
    """The current name of a field that, or whose section, may have been renamed."""
    for old, new in former.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return name


def current_rows(cls: type, rows: Mapping[str, object]) -> dict[str, object]:
    """``rows`` of ``cls`` under their current names."""
    former = former_names(cls)
    return {current_name(name, former): value for name, value in rows.items()}
