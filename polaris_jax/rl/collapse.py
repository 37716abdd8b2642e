"""Stops a run that has collapsed: several steps in a row had nothing to learn, or their responses degenerated."""

import math
from collections import deque
from collections.abc import Iterable, Mapping

from polaris_jax.errors import RunError
from polaris_jax.rl.sections import CollapseOptions

START = 5  # the means of this many first steps are the start that later steps are compared with


class CollapseWatch:
    """Checks the record of every step. It uses records only, so a resumed run continues the same checks.

    Args:
      options: when a run is given up. records: those of the steps done before.
    """

    def __init__(self, options: CollapseOptions, records: Iterable[Mapping]):
        self._options = options
        self._first: dict[str, list[float]] = {"sampler/surprise": [], "length/error": []}
        self._signs: deque[dict[str, str]] = deque(maxlen=max(1, options.steps))
        for record in records:
            self._note(record)

    def look(self, record: Mapping) -> None:
        """Checks the record of one step.

        Raises:
          RunError: a sign of collapse was seen in ``options.steps`` steps in a row.
        """
        self._note(record)
        if not self._options.steps or len(self._signs) < self._options.steps:
            return
        for sign, detail in self._signs[-1].items():
            if all(sign in signs for signs in self._signs):
                raise RunError(
                    f"step {record['step']}: {self._options.steps} steps in a row {detail}; the run has collapsed "
                    "and is given up. Its checkpoints are kept; start again from an earlier one with a lower "
                    "config.optim.learning_rate, a config.rl.kl_coef, or other rewards (config.rl.collapse says when)"
                )

    def _note(self, record: Mapping) -> None:
        for name, values in self._first.items():
            if name in record and len(values) < START:
                values.append(float(record[name]))
        self._signs.append(self._signs_of(record))

    def _signs_of(self, record: Mapping) -> dict[str, str]:
        options, found = self._options, {}
        if record.get("update/empty") == 1.0:
            found["empty"] = "had no row to learn from (all rewards of a group alike, or none)"
        if record.get("rollout/cut_off") == 1.0:
            found["cut_off"] = "had every response cut off at rollout.max_tokens"
        entropy, start = record.get("sampler/surprise"), self._start("sampler/surprise")
        if entropy is not None and start is not None:
            if entropy < options.entropy_low:
                found["low"] = f"had an entropy below {options.entropy_low:g} nats (now {entropy:.4f})"
            if options.entropy_rise and entropy > start + options.entropy_rise:
                found["high"] = (
                    f"had an entropy over {options.entropy_rise:g} nats above {start:.2f} (now {entropy:.2f})"
                )
        error, before = record.get("length/error"), self._start("length/error")
        if options.length_rise > 1 and error is not None and before is not None:
            bound = math.log(options.length_rise)
            if error > bound and error > before + math.log(2):
                now, then = math.exp(error), math.exp(before)
                found["length"] = f"had responses {now:.1f} times as long or short as asked ({then:.1f} at the start)"
        return found

    def _start(self, name: str) -> float | None:
        values = self._first[name]
        return sum(values) / len(values) if values else None
