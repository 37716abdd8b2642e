"""What a benchmark's scores say, as a document: who wrote how well, at which lengths, and whether the judges agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polaris_jax.evals.agreement import krippendorff_alpha, pair_agreements
from polaris_jax.evals.document import Bars, Curve, Document, Lines, Section, Table
from polaris_jax.evals.evaluation import Evaluation, StoryScore
from polaris_jax.evals.intervals import Interval, bootstrap
from polaris_jax.evals.length import BANDS, BUCKET, TRAINED, band_of, length_score, slope_per_bucket
from polaris_jax.evals.published import published_section

CONSENSUS = "all judges"


def evaluation_document(
    found: Evaluation, *, facts: Mapping[str, Any], trained: tuple[float, float] = TRAINED, seed: int = 0
) -> Document:
    """Tables and plots of an evaluation.

    Args:
      facts: about the run: judges, costs, warnings.
      trained: range of requested lengths that the models were trained on, shaded in the plots.
    """
    bench, scores = found.bench, consensus(found.scores, found.bench.headline)
    judges = list(dict.fromkeys(one.judge for one in found.scores))
    low, high = bench.scale
    sections = [
        Section("Result", f"{bench.title}, {low:g} to {high:g}; mean over stories with a 95 % bootstrap interval. "
                "An empty story counts as the least of the scale.",
                [_results(found, seed), _bars(scores, bench.headline, bench.title, seed)]),
        Section("Measures", "Means over stories and judges; faults are already turned round where the benchmark does "
                "so.", [_measures(found.scores, seed)]),
    ]  # fmt: skip
    if any(one.target_words for one in scores):
        sections.insert(1, length_section(scores, bench.headline, bench.title, trained, seed))
    if len(judges) > 1 or any(one.spread is not None for one in found.scores):
        sections.append(_agreement(found.scores, judges, bench.headline, seed))
    if (published := published_section(bench.name)) is not None:
        sections.append(published)
    models = len({one.model for one in scores})
    lead = f"{len(scores)} stories of {models} model{'s' if models != 1 else ''}, judged by {', '.join(judges)}."
    return Document(bench.title, lead, sections, facts)


def consensus(scores: Sequence[StoryScore], headline: str) -> list[StoryScore]:
    """One score per story: the mean of the judges that have one, or none."""
    grouped: dict[tuple[str, str], list[StoryScore]] = {}
    for one in scores:
        grouped.setdefault((one.model, one.id), []).append(one)
    rows = []
    for group in grouped.values():
        given = [one.measures[headline] for one in group if headline in one.measures]
        measures = {headline: sum(given) / len(given)} if given else {}
        first = group[0]
        rows.append(StoryScore(first.model, first.id, CONSENSUS, first.words, first.target_words, measures,
                               None, sum(one.failed for one in group), first.empty))  # fmt: skip
    return rows


def length_section(
    scores: Sequence[StoryScore], headline: str | None, title: str, trained: tuple[float, float], seed: int
) -> Section:
    """Length generalisation: quality and length ratio against the requested length, the trained range shaded.

    Args:
      headline: a measure to plot, or None when nothing was judged.
    """
    asked = [one for one in scores if one.target_words]
    note = f"shaded: {trained[0]:g} to {trained[1]:g} words, the lengths that were trained on"
    parts: list = []
    if headline:
        parts.append(Lines(f"{title} against the requested length",
                           [Curve(model, curve(_with(asked, model, headline), seed)) for model in _models(asked)],
                           "requested words", title, trained, "trained on", note))  # fmt: skip
    ratios = {model: [(one.target_words, one.length_ratio) for one in asked if one.model == model]
              for model in _models(asked)}  # fmt: skip
    parts.append(Lines("Length ratio against the requested length",
                       [Curve(model, curve(points, seed)) for model, points in ratios.items()],
                       "requested words", "words written / words asked for", trained, "trained on", note))  # fmt: skip
    parts.append(_bands(asked, headline, title, seed))
    text = ("How quality and obedience to the requested length carry beyond the lengths of training. The slope is the "
            f"least-squares slope of the means of buckets of {BUCKET:,} requested words.")  # fmt: skip
    return Section("Length generalisation", text, parts)


def curve(points: Sequence[tuple[float, float]], seed: int = 0) -> list[tuple[float, float, float, float]]:
    """``(requested words, mean, low, high)`` by requested length, or by thousands of words where lengths are many."""
    lengths = {x for x, _ in points}
    grouped: dict[float, list[float]] = {}
    for x, y in points:
        grouped.setdefault(x if len(lengths) <= 12 else -(-x // 1_000) * 1_000, []).append(y)
    rows = []
    for x in sorted(grouped):
        mean = bootstrap(grouped[x], samples=500, seed=seed)
        rows.append((x, mean.value, mean.low, mean.high))
    return rows


def _results(found: Evaluation, seed: int) -> Table:
    headline, rows = found.bench.headline, []
    for model in _models(found.scores):
        for judge in dict.fromkeys(one.judge for one in found.scores):
            mine = [one for one in found.scores if (one.model, one.judge) == (model, judge)]
            judged = [one.measures[headline] for one in mine if headline in one.measures]
            rows.append([model, judge, len(mine), len(judged), sum(one.empty for one in mine),
                         sum(one.failed for one in mine), _mean(judged, seed)])  # fmt: skip
    columns = ["model", "judge", "stories", "judged", "empty", "failed answers", found.bench.title]
    return Table(f"{found.bench.title}: results", columns, rows)


def _bars(scores: Sequence[StoryScore], headline: str, title: str, seed: int) -> Bars:
    bars = [(model, mean) for model in _models(scores)
            if (mean := _mean([y for _, y in _with(scores, model, headline, any_length=True)], seed))]  # fmt: skip
    return Bars(title, sorted(bars, key=lambda bar: -bar[1].value))


def _measures(scores: Sequence[StoryScore], seed: int) -> Table:
    models = _models(scores)
    names = dict.fromkeys(name for one in scores for name in one.measures)
    rows = []
    for name in names:
        cells = []
        for model in models:
            given = [one for one in scores if one.model == model and name in one.measures]
            # Several judges of one story are drawn together: they are not independent stories.
            cells.append(bootstrap([one.measures[name] for one in given], clusters=[one.id for one in given],
                                   samples=500, seed=seed) if given else None)  # fmt: skip
        rows.append([name.replace("_", " "), *cells])
    return Table("Every measure", ["measure", *models], rows)


def _bands(scores: Sequence[StoryScore], headline: str | None, title: str, seed: int) -> Table:
    bands = [name for name in (*(name for name, _, _ in BANDS), ">12k")
             if any(band_of(one.target_words) == name for one in scores)]  # fmt: skip
    rows = []
    for model in _models(scores):
        mine = [one for one in scores if one.model == model]
        for what, value in (
            (title, (lambda one: one.measures.get(headline)) if headline else None),
            ("length ratio", lambda one: one.length_ratio),
            ("length score", lambda one: length_score(one.target_words, one.words)),
        ):
            if value is None:
                continue
            pairs = [(one.target_words, v) for one in mine if (v := value(one)) is not None]
            rows.append([model, what, *(_mean([v for x, v in pairs if band_of(x) == band], seed) for band in bands),
                         _mean([v for _, v in pairs], seed), _slope(pairs, seed)])  # fmt: skip
    return Table("By band of requested words", ["model", "measure", *bands, "all", "slope per bucket"], rows)


def _slope(pairs: Sequence[tuple[float, float]], seed: int) -> Interval | None:
    if not pairs or slope_per_bucket(*zip(*pairs, strict=True)) is None:
        return None

    def statistic(rows: np.ndarray) -> float:
        slope = slope_per_bucket(rows[:, 0], rows[:, 1])
        return float("nan") if slope is None else slope

    return bootstrap(pairs, statistic, samples=500, seed=seed)


def _agreement(scores: Sequence[StoryScore], judges: Sequence[str], headline: str, seed: int) -> Section:
    stories = list(dict.fromkeys((one.model, one.id) for one in scores if not one.empty))
    given = {(one.judge, one.model, one.id): one.measures.get(headline, np.nan) for one in scores}
    table = [[given.get((judge, *story), np.nan) for story in stories] for judge in judges]
    parts = []
    if len(judges) > 1:
        rows = [[a, b, n, rho, tau, difference] for a, b, n, rho, tau, difference in
                pair_agreements(judges, table, seed)]  # fmt: skip
        parts.append(Table("Judges in pairs", ["judge", "other", "stories", "Spearman", "Kendall", "mean difference"],
                           rows, f"Krippendorff's alpha (interval) over all judges: {_shown(krippendorff_alpha(table))}"
                           ))  # fmt: skip
    spreads = {judge: [one.spread for one in scores if one.judge == judge and one.spread is not None]
               for judge in judges}  # fmt: skip
    if any(spreads.values()):
        parts.append(Table("Repeated answers of one judge", ["judge", "stories", "standard deviation within a story"],
                           [[judge, len(found), _mean(found, seed)] for judge, found in spreads.items() if found]
                           ))  # fmt: skip
    return Section("Judges", "Whether the judges rank the same stories high, who is lenient, and how much one judge "
                   "wavers when asked again.", parts)  # fmt: skip


def _models(scores: Sequence[StoryScore]) -> list[str]:
    return list(dict.fromkeys(one.model for one in scores))


def _with(scores: Sequence[StoryScore], model: str, name: str, any_length: bool = False) -> list[tuple[float, float]]:
    return [(one.target_words or 0, one.measures[name]) for one in scores
            if one.model == model and name in one.measures and (any_length or one.target_words)]  # fmt: skip


def _mean(values: Sequence[float], seed: int) -> Interval | None:
    return bootstrap(values, seed=seed) if len(values) else None


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
