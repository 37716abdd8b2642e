"""The arms of an ablation: which form of the data, how long, and which dials are turned."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.evals.ablation.variants import VARIANTS


@dataclass(frozen=True)
class Arm:
    """One training run of the sweep.

    Attributes:
      name: of its folder and its row.
      variant: form of the trajectories.
      epochs: passes over its store; 0 trains on the budget of tokens that all such arms share.
      overrides: dials of the training config, as on the command line: ``optim.learning_rate=1e-4``.
      train: False measures the model as it is before training.
    """

    name: str
    variant: str = "trajectory"
    epochs: float = 0.0
    overrides: tuple[str, ...] = ()
    train: bool = True

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise InputError("variant", self.variant, f"use one of {', '.join(VARIANTS)}")
        if not self.name or "/" in self.name:
            raise InputError("arm", self.name, "names a folder: no slash, not empty")
        if self.epochs < 0:
            raise InputError("epochs", self.epochs, "0 (the shared budget of tokens) or more")

    def to_json(self) -> dict:
        """As JSON values."""
        return asdict(self) | {"overrides": list(self.overrides)}


def claimed_arms() -> tuple[Arm, ...]:
    """The sweep for what the book-writing paper claims and does not test: the scaffold's forms at equal tokens, then
    one, three and six epochs."""
    return (
        Arm("base", train=False),
        *(Arm(name, name) for name in VARIANTS),
        *(Arm(f"epochs_{n}", epochs=n) for n in (1, 3, 6)),
    )


def read_arms(address: str | os.PathLike) -> tuple[Arm, ...]:
    """Arms from a JSON file: a list of objects with the fields of ``Arm``.

    Raises:
      InputError: no such file, a field that does not exist, or two arms of one name.
    """
    content = storage.read(os.fspath(address))
    if content is None:
        raise InputError("--arms", str(address), "no such file")
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise InputError("--arms", str(address), f"is not JSON ({error})") from None
    if not isinstance(rows, list) or not rows:
        raise InputError("--arms", str(address), "must hold a list of arms")
    arms = tuple(_arm(row) for row in rows)
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise InputError("arm", name, "is there twice")
    return arms


def _arm(row: Mapping[str, object]) -> Arm:
    known = [field.name for field in fields(Arm)]
    if not isinstance(row, dict) or "name" not in row or set(row) - set(known):
        raise InputError("arm", row, f"is an object with {', '.join(known)}")
    return Arm(**row | {"overrides": tuple(row.get("overrides", ()))})
