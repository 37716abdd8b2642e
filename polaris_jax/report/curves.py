"""Curves of metrics records, and the change between the first and the last quarter of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from polaris_jax.report.formats import is_number
from polaris_jax.trajectory import KINDS, ROLES

ROLE_PREFIX = "loss/role/"


@dataclass(frozen=True)
class Change:
    """The mean of a metric over the first and the last quarter of the steps that report it."""

    name: str
    first: float
    last: float

    @property
    def difference(self) -> float:
        return self.last - self.first

    @property
    def relative(self) -> float | None:
        return self.difference / self.first if self.first else None


def points(records: Sequence[dict], key: str) -> list[tuple[float, float]]:
    """``(step, value)`` of every record that has a finite value under ``key``."""
    return [(r["step"], r[key]) for r in records if is_number(r.get("step")) and is_number(r.get(key))]


def values(records: Sequence[dict], key: str) -> list[float]:
    """The values of ``points``."""
    return [value for _, value in points(records, key)]


def moving_average(curve: Sequence[tuple[float, float]], width: int) -> list[tuple[float, float]]:
    """Centred mean over up to ``width`` points; the window shrinks at both ends, so the curve keeps its length."""
    half = width // 2
    smooth = []
    for index, (x, _) in enumerate(curve):
        reach = min(half, index, len(curve) - 1 - index)
        window = curve[index - reach : index + reach + 1]
        smooth.append((x, sum(y for _, y in window) / len(window)))
    return smooth


def change(records: Sequence[dict], key: str, name: str = "") -> Change | None:
    """First and last quarter of a metric (at least one value each), named ``name or key``; None without values."""
    found = values(records, key)
    if not found:
        return None
    quarter = max(1, len(found) // 4)
    return Change(name or key, sum(found[:quarter]) / quarter, sum(found[-quarter:]) / quarter)


def loss_kinds(records: Sequence[dict]) -> list[str]:
    """Kinds that have a loss in any record, in the order of ``KINDS``."""
    return [kind for kind in KINDS if points(records, f"loss/{kind}")]


def loss_roles(records: Sequence[dict]) -> list[str]:
    """Stage roles that have a loss in any record, in the order of ``ROLES``."""
    return [role for role in ROLES if points(records, ROLE_PREFIX + role)]


def median(numbers: Sequence[float]) -> float | None:
    """The median; None without numbers."""
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    if not ordered:
        return None
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
