"""The planner's result for one config on one slice: a frozen record, its JSON, and its place on disk."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import polaris_jax
from polaris_jax import storage
from polaris_jax.planner.hlo import Collective

GIB = 1 << 30
T = TypeVar("T")
_PLACES = ("model.path", "data.store", "data.train", "data.validation")
_CODE = ("ops", "sharding", "optim", "models", "training", "planner")  # rooms that decide what is compiled or said


@dataclass(frozen=True)
class PlanVerdict:
    """One step of one config on one slice.

    Attributes:
      context_method: how keys reach queries over the context axis.
      fits: whether it fits the HBM of every chip (and host memory, if layers are offloaded).
      source: "compiler" (to buffer assignment), "compiler-full" (to machine code: kernels' own limits hold too), or
        "analytic" (arithmetic; libtpu is not installed).
      hbm_gib_per_chip, hbm_limit_gib, host_gib_per_chip, parts: GiB per chip; ``parts`` sum to the HBM, except
        ``offloaded``, which lies on the host.
      collectives: per device and step.
      step_time_s: expected; step_time_least_s: lower bound, by the compiler's schedule of the attention kernels.
      time_source: where the two come from, in words.
      slices: slices of this topology, joined by the data-centre network (DCN). dcn: with several slices, what each chip
        sends over it per step (``gb_per_chip``), and the ``seconds`` of that alone; ``terms["dcn"]`` is the exposed
        part of them.
      attention_forward_runs: how often attention's forward kernel runs for each time it must; None if not compiled.
      cost: dollars at list price (``prices.toml``) per hour, step, million tokens and run, hours and steps of the run;
        None for a chip without a price.
      timeline: ``(moment in the schedule, GiB by part)`` samples of the temporaries, for the picture.
      choice: why ``context_method`` was chosen, where the config says ``auto``.
      suggestion: overrides that make it fit, the smallest change found; None when it fits.
    """

    topology: str
    layout: str
    chips: int
    mesh: dict[str, int]
    window: int
    batch_size: int
    context_method: str
    source: str
    fits: bool
    hbm_gib_per_chip: float
    hbm_limit_gib: float
    host_gib_per_chip: float
    parts: dict[str, float]
    collectives: tuple[Collective, ...]
    step_time_s: float
    step_time_least_s: float
    terms: dict[str, float]
    limiting_term: str
    mfu: float
    tokens_per_s_per_chip: float
    cost: dict[str, float] | None
    time_source: str = ""
    attention_forward_runs: float | None = None
    compile_s: float | None = None
    error: str | None = None
    choice: str | None = None
    suggestion: str | None = None
    timeline: tuple[tuple[int, dict[str, float]], ...] = ()
    slices: int = 1
    dcn: dict[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "PlanVerdict":
        return cls(
            **record
            | {
                "collectives": tuple(Collective(**row) for row in record["collectives"]),
                "timeline": tuple((moment, parts) for moment, parts in record["timeline"]),
            }
        )


def cache_folder() -> Path:
    """``$POLARIS_PLAN_CACHE``, else below the user's cache folder."""
    chosen = os.environ.get("POLARIS_PLAN_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "polaris_jax" / "plan"


@lru_cache
def code_version(rooms: tuple[str, ...] = _CODE) -> str:
    """A digest of the source of every room (or file) that shapes the compiled program."""
    digest = hashlib.sha256()
    root = Path(polaris_jax.__file__).parent
    for room in rooms:
        sources = [*(root / room).rglob("*.py"), *(root / room).rglob("*.json")]
        for file in sorted(sources) or [root / room]:
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def cache_key(
    rows: dict[str, Any],
    model: str,
    topology: str,
    source: str,
    compiler: str | None,
    options: dict,
    more: tuple[str, ...] = (),
) -> str:
    """A key of everything that a verdict depends on; the paths of model and data are not part of it.

    Args:
      more: rooms or files besides those of a training step.
    """
    rows = {name: value for name, value in rows.items() if name not in _PLACES}
    facts = [rows, model, topology, source, compiler, options, code_version((*_CODE, *more))]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def read_cached(key: str) -> PlanVerdict | None:
    """The verdict that ``write_cached`` stored, None if there is none."""
    return read_record(key, PlanVerdict.from_json)


def write_cached(key: str, verdict: PlanVerdict) -> None:
    """Keeps a verdict on disk."""
    write_record(key, verdict.to_json())


def read_record(key: str, parse: Callable[[dict[str, Any]], T]) -> T | None:
    """``parse`` of the JSON object on disk, None if there is none."""
    file = cache_folder() / f"{key}.json"
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):  # missing, damaged, or of an older version: computed again
        return None


def write_record(key: str, record: dict[str, Any]) -> None:
    """Keeps a JSON object on disk."""
    storage.write_cache(cache_folder() / f"{key}.json", json.dumps(record).encode())
