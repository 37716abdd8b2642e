"""The runs of a sweep: data variant, length of training, config overrides. An arm of the ablation is one run."""

import json
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

from polaris_jax import storage
from polaris_jax.errors import InputError
from polaris_jax.studies.ablation.variants import VARIANTS


@dataclass(frozen=True)
class SweepRun:
    """One training run of a sweep: an arm of the ablation.

    Attributes:
      name: name of its folder and of its table row.
      variant: form of the trajectories.
      epochs: passes over its store; 0: it trains on the token budget that all such runs share.
      overrides: overrides of the training config, as on the command line: ``optim.learning_rate=1e-4``.
      train: False measures the model before training.

    Raises:
      InputError: an unknown variant, a name that cannot be a folder, or negative epochs.
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


def default_sweep() -> tuple[SweepRun, ...]:
    """The sweep for untested claims of the book-writing paper: the scaffold's forms at equal tokens, and one, three and
    six epochs."""
    return (
        SweepRun("base", train=False),
        *(SweepRun(name, name) for name in VARIANTS),
        *(SweepRun(f"epochs_{n}", epochs=n) for n in (1, 3, 6)),
    )


def read_sweep_runs(address: str | os.PathLike) -> tuple[SweepRun, ...]:
    """Runs from a JSON file: a list of objects with the fields of ``SweepRun``.

    Raises:
      InputError: no such file, an unknown field, or two runs with one name.
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
    runs = tuple(_sweep_run(row) for row in rows)
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise InputError("arm", name, "is there twice")
    return runs


def _sweep_run(row: Any) -> SweepRun:
    known = [field.name for field in fields(SweepRun)]
    if not isinstance(row, dict) or "name" not in row or set(row) - set(known):
        raise InputError("arm", row, f"is an object with {', '.join(known)}")
    return SweepRun(**row | {"overrides": tuple(row.get("overrides", ()))})
