"""The table of parameter groups that a training run prints at its start."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def parameter_table(facts: Mapping[str, Any]) -> Table:
    """The parameter groups and the mesh of a starting run.

    Args:
      facts: ``parameters`` (their number), ``mesh`` (size by axis) and ``groups`` (name, arrays, parameters of each),
        as ``training.train`` passes them to ``on_start``.
    """
    mesh = " × ".join(f"{axis} {size}" for axis, size in facts["mesh"].items())
    table = Table("group", "arrays", "parameters", title=f"{facts['parameters']:,} parameters on mesh {mesh}")
    for group, arrays, parameters in facts["groups"]:
        table.add_row(group, str(arrays), f"{parameters:,}")
    return table
