"""The report of a benchmark: scores per model, by requested length, and the agreement of the judges."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.evals.documents.document import (
    BarChart,
    Cell,
    Curve,
    Document,
    DocumentSection,
    LineChart,
    Part,
    Table,
)
from polaris_jax.evals.documents.published import published_sections
from polaris_jax.evals.intervals import Interval, bootstrap
from polaris_jax.evals.judging.agreement import krippendorff_alpha, pair_agreements
from polaris_jax.evals.judging.evaluation import BenchResult, StoryScore
from polaris_jax.evals.length import BUCKET, length_groups, length_score, slope_per_bucket

CONSENSUS = "all judges"
_POINTS = 12  # most points of a curve


def evaluation_document(
    result: BenchResult, *, facts: Mapping[str, Any], trained: tuple[float, float] | None = None, seed: int = 0
) -> Document:
    """Tables and charts of a benchmark's result.

    Args:
      facts: facts about the run: judges, costs, warnings.
      trained: range of requested lengths in training, shaded in the charts; None if unknown.
    """
    bench, scores = result.bench, consensus(result.scores, result.bench.headline)
    judges = list(dict.fromkeys(one.judge for one in result.scores))
    low, high = bench.scale
    sections = [
        DocumentSection(
            "Result",
            f"{bench.title}, {low:g} to {high:g}; mean over stories with a 95 % bootstrap interval. "
            "An empty story counts as the minimum of the scale.",
            [
                _results(result, seed),
                *_failures(result.records),
                _bars(scores, bench.headline, bench.title, seed),
            ],
        ),
        DocumentSection(
            "Measures",
            "Means over stories and judges; faults are already inverted where the benchmark inverts them.",
            [_measures(result.scores, seed)],
        ),
    ]
    if any(one.target_words for one in scores):
        sections.insert(1, length_section(scores, bench.headline, bench.title, trained, seed))
    if len(judges) > 1 or any(one.spread is not None for one in result.scores):
        sections.append(_agreement(result.scores, judges, bench.headline, seed))
    sections += published_sections(bench.name)
    models = len({one.model for one in scores})
    lead = f"{len(scores)} stories of {models} model{'s' if models != 1 else ''}, judged by {', '.join(judges)}."
    return Document(bench.title, lead, sections, facts)


def consensus(scores: Sequence[StoryScore], headline: str) -> list[StoryScore]:
    """One score per story: the mean over the judges that scored it, if any."""
    grouped: dict[tuple[str, str], list[StoryScore]] = {}
    for one in scores:
        grouped.setdefault((one.model, one.id), []).append(one)
    rows = []
    for group in grouped.values():
        given = [one.measures[headline] for one in group if headline in one.measures]
        measures = {headline: sum(given) / len(given)} if given else {}
        first = group[0]
        rows.append(
            StoryScore(
                first.model,
                first.id,
                CONSENSUS,
                first.words,
                first.target_words,
                measures,
                None,
                sum(one.failed for one in group),
                first.empty,
            )
        )
    return rows


def length_section(
    scores: Sequence[StoryScore], headline: str | None, title: str, trained: tuple[float, float] | None, seed: int
) -> DocumentSection:
    """Length generalisation: quality and length ratio against the requested length.

    Args:
      headline: a measure to draw, or None without a judge.
      trained: range of requested lengths in training, shaded; None if unknown.
    """
    requested = [one for one in scores if one.target_words]
    note = f"shaded: {trained[0]:g} to {trained[1]:g} words, the lengths of training" if trained else ""
    parts: list[Part] = []
    if headline:
        parts.append(
            LineChart(
                f"{title} against the requested length",
                [Curve(model, curve(_points(requested, model, headline), seed)) for model in _models(requested)],
                "requested words",
                title,
                trained,
                "trained on",
                note,
            )
        )
    ratios = {
        model: [
            (one.target_words, one.words / one.target_words)
            for one in requested
            if one.model == model and one.target_words
        ]
        for model in _models(requested)
    }
    parts.append(
        LineChart(
            "Length ratio against the requested length",
            [Curve(model, curve(points, seed)) for model, points in ratios.items()],
            "requested words",
            "words written / words requested",
            trained,
            "trained on",
            note,
        )
    )
    parts.append(_bands(requested, headline, title, seed))
    lengths = sorted({one.target_words for one in requested if one.target_words})
    text = (
        f"How quality and adherence to the requested length change with it; {_range(lengths)} were requested. The "
        f"slope is the least-squares slope of the means of buckets of {BUCKET:,} requested words."
    )
    return DocumentSection("Length generalisation", text, parts)


def curve(points: Sequence[tuple[float, float]], seed: int = 0) -> list[tuple[float, float, float, float]]:
    """``(requested words, mean, low, high)`` per requested length; many lengths are grouped into ``_POINTS`` ranges."""
    lengths = {x for x, _ in points}
    few, low, high = len(lengths) <= _POINTS, min(lengths, default=0), max(lengths, default=0)
    grouped: dict[float, list[tuple[float, float]]] = {}
    for x, y in points:
        place = x if few else min(_POINTS - 1, int(_POINTS * (x - low) / (high - low)))
        grouped.setdefault(place, []).append((x, y))
    rows = []
    for place in sorted(grouped):
        mean = bootstrap([y for _, y in grouped[place]], samples=500, seed=seed)
        rows.append((float(np.mean([x for x, _ in grouped[place]])), mean.value, mean.low, mean.high))
    return rows


def failures_by_kind(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Judge → kind of failure → number of answers. Stories without text are not counted."""
    counts: dict[str, dict[str, int]] = {}
    for record in records:
        kind = record["error"]["kind"] if "error" in record else None
        if kind not in (None, "empty_story"):
            mine = counts.setdefault(record["judge"], {})
            mine[kind] = mine.get(kind, 0) + 1
    return counts


def _failures(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    counts = failures_by_kind(records)
    kinds = sorted({kind for mine in counts.values() for kind in mine})
    rows: list[Sequence[Cell]] = [[judge, *(mine.get(kind, 0) for kind in kinds)] for judge, mine in counts.items()]
    note = "An answer that was cut or cannot be read whole is no answer; it was asked for twice."
    return [Table("Failed answers by kind", ["judge", *kinds], rows, note)] if rows else []


def _range(lengths: Sequence[int]) -> str:
    if lengths[0] == lengths[-1]:
        return f"{lengths[0]:,} words"
    return f"{lengths[0]:,} to {lengths[-1]:,} words"


def _results(result: BenchResult, seed: int) -> Table:
    headline = result.bench.headline
    rows: list[Sequence[Cell]] = []
    for model in _models(result.scores):
        for judge in dict.fromkeys(one.judge for one in result.scores):
            mine = [one for one in result.scores if (one.model, one.judge) == (model, judge)]
            judged = [one.measures[headline] for one in mine if headline in one.measures]
            rows.append(
                [
                    model,
                    judge,
                    len(mine),
                    len(judged),
                    sum(one.empty for one in mine),
                    sum(one.failed for one in mine),
                    _mean(judged, seed),
                ]
            )
    columns = ["model", "judge", "stories", "judged", "empty", "failed answers", result.bench.title]
    return Table(f"{result.bench.title}: results", columns, rows)


def _bars(scores: Sequence[StoryScore], headline: str, title: str, seed: int) -> BarChart:
    bars = [
        (model, mean)
        for model in _models(scores)
        if (mean := _mean([y for _, y in _points(scores, model, headline, any_length=True)], seed))
    ]
    return BarChart(title, sorted(bars, key=lambda bar: -bar[1].value))


def _measures(scores: Sequence[StoryScore], seed: int) -> Table:
    models = _models(scores)
    names = dict.fromkeys(name for one in scores for name in one.measures)
    rows = []
    for name in names:
        cells = []
        for model in models:
            given = [one for one in scores if one.model == model and name in one.measures]
            # Several judges' scores of one story are not independent, so they are resampled together.
            cells.append(
                bootstrap(
                    [one.measures[name] for one in given], clusters=[one.id for one in given], samples=500, seed=seed
                )
                if given
                else None
            )
        rows.append([name.replace("_", " "), *cells])
    return Table("Every measure", ["measure", *models], rows)


def _bands(scores: Sequence[StoryScore], headline: str | None, title: str, seed: int) -> Table:
    groups = length_groups([one.target_words for one in scores if one.target_words])
    bands = list(dict.fromkeys(groups.values()))
    values: dict[str, Callable[[StoryScore, int], float | None]] = {
        "length ratio": lambda one, target: one.words / target,
        "length score": lambda one, target: length_score(target, one.words),
    }
    if headline:
        values = {title: lambda one, target: one.measures.get(headline), **values}
    rows: list[Sequence[Cell]] = []
    for model in _models(scores):
        mine = [(one, one.target_words) for one in scores if one.model == model and one.target_words]
        for name, value in values.items():
            pairs = [(target, v) for one, target in mine if (v := value(one, target)) is not None]
            rows.append(
                [
                    model,
                    name,
                    *(_mean([v for x, v in pairs if groups[x] == band], seed) for band in bands),
                    _mean([v for _, v in pairs], seed),
                    _slope(pairs, seed),
                ]
            )
    return Table("By requested length", ["model", "measure", *bands, "all", "slope per bucket"], rows)


def _slope(pairs: Sequence[tuple[int, float]], seed: int) -> Interval | None:
    if slope_per_bucket([x for x, _ in pairs], [y for _, y in pairs]) is None:
        return None

    def statistic(rows: np.ndarray) -> float:
        slope = slope_per_bucket(rows[:, 0], rows[:, 1])
        return float("nan") if slope is None else slope

    return bootstrap(pairs, statistic, samples=500, seed=seed)


def _agreement(scores: Sequence[StoryScore], judges: Sequence[str], headline: str, seed: int) -> DocumentSection:
    stories = list(dict.fromkeys((one.model, one.id) for one in scores if not one.empty))
    given = {(one.judge, one.model, one.id): one.measures.get(headline, np.nan) for one in scores}
    table = [[given.get((judge, *story), np.nan) for story in stories] for judge in judges]
    parts: list[Part] = []
    if len(judges) > 1:
        rows = [list(pair) for pair in pair_agreements(judges, table, seed)]
        parts.append(
            Table(
                "Judges in pairs",
                ["judge", "other", "stories", "Spearman", "Kendall", "mean difference"],
                rows,
                f"Krippendorff's alpha (interval) over all judges: {_shown(krippendorff_alpha(table))}",
            )
        )
    spreads = {
        judge: [one.spread for one in scores if one.judge == judge and one.spread is not None] for judge in judges
    }
    if any(spreads.values()):
        parts.append(
            Table(
                "Repeated answers of one judge",
                ["judge", "stories", "standard deviation within a story"],
                [[judge, len(values), _mean(values, seed)] for judge, values in spreads.items() if values],
            )
        )
    return DocumentSection(
        "Judges",
        "Whether the judges rank the same stories high, which are lenient, and how much the answers of one judge vary.",
        parts,
    )


def _models(scores: Sequence[StoryScore]) -> list[str]:
    return list(dict.fromkeys(one.model for one in scores))


def _points(scores: Sequence[StoryScore], model: str, name: str, any_length: bool = False) -> list[tuple[float, float]]:
    return [
        (one.target_words or 0, one.measures[name])
        for one in scores
        if one.model == model and name in one.measures and (any_length or one.target_words)
    ]


def _mean(values: Sequence[float], seed: int) -> Interval | None:
    return bootstrap(values, seed=seed) if len(values) else None


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
