"""The sections of the demo's report, computed only from the files of the run.

Each function returns None (or an empty list) if the run has not reached that part; the templates then say so.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from polaris_jax.report import mesh_pictures
from polaris_jax.report.charts import Series, line_chart
from polaris_jax.report.curves import Change, change, loss_kinds, median, points, values
from polaris_jax.report.formats import is_number
from polaris_jax.report.metric_charts import SmallChart, role_charts, run_charts
from polaris_jax.report.transcript_view import TranscriptView
from polaris_jax.report.workdir import DemoRun
from polaris_jax.sampling.export import ReadableBook, readable
from polaris_jax.sharding import MESH_AXES
from polaris_jax.trajectory import KINDS, ROLES, split_stages

# Tokens of the published corpus, 649.1 M in all: book text, planning scaffold, prompt (POLARIS paper, data section).
PUBLISHED_SHARES = {"prompt": 0.0023, "scaffold": 0.3935, "prose": 0.6043}
PLOTTED_KINDS = ("prose", "scaffold", "copy", "header")


@dataclass(frozen=True)
class Corpus:
    """The books that were read and the trajectories made from them; tokens are summed over all trajectories."""

    books: list[dict]
    trajectories: list[dict]
    accepted: int
    valid: int
    tokens: float | None
    window: float | None
    fill: float | None
    kinds: dict[str, float]
    roles: dict[str, dict[str, float]]
    trained_on: frozenset

    @property
    def shares(self) -> dict[str, float]:
        """The share of all tokens per kind."""
        total = sum(self.kinds.values())
        return {kind: tokens / total for kind, tokens in self.kinds.items()} if total else {}

    @property
    def grouped(self) -> dict[str, float]:
        """Shares in the three classes of the published figures: headers and copies belong to the scaffold."""
        shares = self.shares
        planning = sum(shares.get(kind, 0.0) for kind in ("header", "scaffold", "copy"))
        return {"prompt": shares.get("prompt", 0.0), "scaffold": planning, "prose": shares.get("prose", 0.0)}


def corpus(run: DemoRun) -> Corpus | None:
    """The corpus section, or None before ``books.json`` exists."""
    if not run.books:
        return None
    books, trajectories = _rows(run.books, "books"), _rows(run.books, "trajectories")
    kinds = {kind: _total(_part(row, "by_kind").get(kind) for row in trajectories) for kind in KINDS}
    roles = {
        role: {
            unit: _total(_part(_part(row, "by_role"), role).get(unit) for row in trajectories)
            for unit in ("tokens", "words")
        }
        for role in ROLES
        if any(role in _part(row, "by_role") for row in trajectories)
    }
    return Corpus(
        books,
        trajectories,
        sum(row.get("accepted") is True for row in books),
        sum(row.get("valid") is True for row in trajectories),
        run.books.get("tokens"),
        run.books.get("window"),
        run.books.get("fill"),
        {kind: tokens for kind, tokens in kinds.items() if tokens},
        roles,
        frozenset(index for index in run.books.get("trained_on") or () if isinstance(index, int)),
    )


@dataclass(frozen=True)
class Training:
    """Curves and quarter means; ``facts`` is ``training.json`` and may be empty."""

    facts: dict
    steps: int
    kinds: list[Change]
    kind_chart: Markup | None
    role_charts: list[SmallChart]
    other_charts: list[SmallChart]
    tokens_per_second: float | None
    tokens_per_second_per_device: float | None
    step_seconds: float | None
    tokens: float
    supervised: float

    def quarter(self, kind: str) -> Change | None:
        """First and last quarter of a kind's loss."""
        return next((one for one in self.kinds if one.name == kind), None)


def training(run: DemoRun) -> Training | None:
    """The training section, or None before the first step."""
    return training_of(run.metrics, run.training)


def training_of(
    records: Sequence[dict], facts: dict, others: Callable[[Sequence[dict]], list[SmallChart]] = run_charts
) -> Training | None:
    """Curves and means of metrics records. Rates are medians without the first step, which also compiles.

    Args:
      others: charts of the metrics that are not losses by kind or role.
    """
    if not records:
        return None
    kinds = [kind for kind in PLOTTED_KINDS if kind in loss_kinds(records)]
    lines = [Series(kind, f"k-{kind}", points(records, f"loss/{kind}")) for kind in kinds]
    changes = [change(records, "loss", "all"), *(change(records, f"loss/{kind}", kind) for kind in kinds)]
    warm = records[1:] or records
    return Training(
        facts=facts,
        steps=len(records),
        kinds=[one for one in changes if one],
        kind_chart=line_chart(lines, "Training loss per kind of token") if lines else None,
        role_charts=role_charts(records),
        other_charts=others(records),
        tokens_per_second=median(values(warm, "tokens_per_s")),
        tokens_per_second_per_device=median(values(warm, "tokens_per_s_per_device")),
        step_seconds=median(values(warm, "step_time_s")),
        tokens=sum(values(records, "tokens")),
        supervised=sum(values(records, "supervised")),
    )


@dataclass(frozen=True)
class MeshView:
    """The devices and, when the context axis is larger than one, how a row lies on it."""

    sizes: dict[str, int]
    devices: int
    picture: Markup | None
    zigzag: Markup | None
    hops: list[Markup]

    @property
    def context(self) -> int:
        return self.sizes["context"]


def mesh(run: DemoRun) -> MeshView | None:
    """The mesh section, or None before ``training.json`` names a mesh."""
    given = run.training.get("mesh")
    if not isinstance(given, dict):
        return None
    sizes = {axis: given.get(axis, 1) for axis in MESH_AXES}
    if not all(isinstance(size, int) and size >= 1 for size in sizes.values()):
        return None
    devices, shards = 1, sizes["context"]
    for size in sizes.values():
        devices *= size
    hops = mesh_pictures.ring_hops(shards) if 1 < shards <= mesh_pictures.MOST_DEVICES else []
    drawn = 1 < shards <= mesh_pictures.MOST_SHARDS
    return MeshView(
        sizes,
        devices,
        mesh_pictures.mesh_picture(sizes) if devices <= mesh_pictures.MOST_DEVICES else None,
        mesh_pictures.zigzag_picture(shards, run.books.get("window")) if drawn else None,
        [mesh_pictures.hop_picture(shards, hops, hop) for hop in range(min(len(hops), mesh_pictures.MOST_HOPS))],
    )


@dataclass(frozen=True)
class WrittenView:
    """The book that the trained model wrote, finished or not."""

    prompt: str
    book: ReadableBook | None
    view: TranscriptView
    finished: bool
    totals: dict
    steps: list[dict]


def written(run: DemoRun, view: TranscriptView | None) -> WrittenView | None:
    """The written-book section, or None before ``book/artifact.txt`` exists; ``view`` is of that transcript."""
    if run.artifact is None or view is None:
        return None
    prompt, book = "", None
    if view.stages:
        prompt = next((part.text for part in split_stages(run.artifact, partial=True) if part.role == "prompt"), "")
        book = readable(run.artifact)
    finished = run.writing.get("verdict") is not None and view.ok is not None
    return WrittenView(prompt, book, view, finished, _part(run.writing, "totals"), _rows(run.writing, "steps"))


def time_parts(run: DemoRun) -> list[tuple[str, float]]:
    """``(part of the demo, seconds)`` in the order in which they ran."""
    return [(name, value) for name, value in _part(run.demo, "timings").items() if is_number(value)]


def commands(run: DemoRun, prompt: str) -> list[tuple[str, str]]:
    """``(purpose, command line)`` of next steps from this run."""
    base = shlex.quote(str(run.path))
    found = []
    if run.metrics:
        ask = shlex.quote(prompt or "A short novel about a lighthouse keeper and the last ship of the year.")
        found.append(
            (
                "Write another book with the trained model",
                f"polaris write --checkpoint={base}/run --prompt={ask} --out={base}/another-book",
            )
        )
    first = next((row["file"] for row in _rows(run.books, "trajectories") if isinstance(row.get("file"), str)), None)
    if first:
        found.append(("Look inside a trajectory", f"polaris inspect {base}/{shlex.quote(first)} --html"))
    if run.artifact is not None:
        found.append(("Look inside the written book", f"polaris inspect {base}/book/artifact.txt --html"))
    found.append(("Read a novel of your own", "polaris segment novel.txt"))
    return found


def _rows(content: dict, name: str) -> list[dict]:
    return [row for row in content.get(name) or () if isinstance(row, dict)]


def _part(content: dict, name: str) -> dict:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _total(numbers) -> float:
    return sum(value for value in numbers if is_number(value))
