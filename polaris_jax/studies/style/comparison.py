"""``compare_styles``: groups of generations against human novels, and whether ``b`` is nearer to them than ``a``.

The result is one JSON-ready record; ``report`` makes a document of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from polaris_jax.llm import Client
from polaris_jax.studies.style import plan_use
from polaris_jax.studies.style.burrows_delta import BurrowsDelta
from polaris_jax.studies.style.classifier import VIEWS, accuracy
from polaris_jax.studies.style.contrast import Sample, contrast, shift
from polaris_jax.studies.style.groups import PER_AUTHOR, StoryGroup
from polaris_jax.studies.style.judge_ratings import SCALES, rate_stories
from polaris_jax.studies.style.measures import MEASURES, Measure
from polaris_jax.studies.style.overused import overused, rates
from polaris_jax.studies.style.stories import Story

PLAN_MEASURES = (
    Measure("summary artefact", "share of plan pairs", plan_use.artefact_index, "story", expected=1),
    Measure("word-count error", "|log2|", plan_use.word_count_error, "story", expected=1),
    Measure("planned names kept", "share", plan_use.names_kept, "story", expected=-1),
)
SHOWN_PHRASES = 40
MAX_JUDGED = 40  # stories per group


def compare_styles(
    human: Sequence[Story],
    generated: Mapping[str, Sequence[Story]],
    *,
    measures: Sequence[Measure] = MEASURES,
    per_author: int = PER_AUTHOR,
    judge: Client | None = None,
    draws: int = 1,
    seed: int = 0,
) -> dict:
    """Every comparison of the groups, as JSON values.

    Args:
      human: novels, the baseline; at least four authors for Burrows' Delta, two for the classifier.
      generated: one or two named groups, ``a`` before ``b``.
      measures: measures of passages and stories.
      per_author: most passages and stories of each author.
      judge: rates up to ``MAX_JUDGED`` stories of each group, ``draws`` times each; None: no ratings.
      seed: seed of bootstrap and folds.

    Returns:
      ``groups`` (facts), ``rows`` (per measure: means, contrasts with the novels, shift from a to b), ``classifier``,
      ``overused`` (phrases per group), ``settings``.
    """
    base = StoryGroup.of("human", human, per_author)
    groups = [StoryGroup.of(name, stories, per_author) for name, stories in generated.items()]
    family = len(measures) + 2
    rows = [_row(_about(m), [base.sample(m), *(g.sample(m) for g in groups)], groups, family, seed) for m in measures]
    rows += _delta_rows(base, groups, family, seed)
    rows += [_overused_row(base, groups, family, seed)]
    rows += _optional_rows(PLAN_MEASURES, base, groups, seed)
    if judge is not None:
        rows += _judged_rows(judge, base, groups, draws, seed)
    return {
        "groups": [group.facts() for group in (base, *groups)],
        "rows": rows,
        "classifier": [
            {"group": g.name, "view": view, **asdict(accuracy(g.passages, base.passages, view, seed=seed))}
            for g in groups
            for view in VIEWS
            if min(_authors(base), _authors(g)) > 1
        ],
        "overused": {
            g.name: [asdict(one) for one in overused(g.passages, base.passages, SHOWN_PHRASES)] for g in groups
        },
        "settings": {"per_author": per_author, "seed": seed, "family": family},
    }


def _about(measure: Measure) -> dict:
    return {"measure": measure.name, "unit": measure.unit, "expected": measure.expected}


def _row(about: dict, sampled: Sequence[Sample], groups: Sequence[StoryGroup], family: int, seed: int) -> dict:
    """One measure's row: ``about`` is its name, unit and expected sign; ``sampled`` are the novels, then the groups."""
    human, *others = sampled
    moved = shift(others[0], others[1], human, seed=seed) if len(others) > 1 else None
    return {
        **about,
        "human": _mean(human),
        "groups": {
            g.name: contrast(sample, human, family=family, seed=seed).to_json()
            for g, sample in zip(groups, others, strict=True)
        },
        "shift": None if moved is None or math.isnan(moved.value) else asdict(moved),
    }


def _delta_rows(base: StoryGroup, groups: Sequence[StoryGroup], family: int, seed: int) -> list[dict]:
    if len({text.author for text in base.delta_texts}) < 4:
        return []
    delta = BurrowsDelta(base.delta_texts)
    about = {"measure": "Burrows' Delta", "unit": "mean |z|", "expected": 1}
    return [_row(about, [delta.deltas(g.delta_texts) for g in (base, *groups)], groups, family, seed)]


def _overused_row(base: StoryGroup, groups: Sequence[StoryGroup], family: int, seed: int) -> dict:
    """Every group has its own list of phrases, so there is one human mean per group and no shift."""
    labels = [p.author for p in base.passages]
    contrasts = {}
    for group in groups:
        ours, theirs = rates(group.passages, base.passages)
        contrasts[group.name] = contrast(
            Sample.of(ours, [p.author for p in group.passages]), Sample.of(theirs, labels), family=family, seed=seed
        ).to_json()
    return {
        "measure": "over-used n-grams",
        "unit": "per 1,000 words",
        "expected": 1,
        "human": None,
        "groups": contrasts,
        "shift": None,
    }


def _optional_rows(
    measures: Sequence[Measure], base: StoryGroup, groups: Sequence[StoryGroup], seed: int
) -> list[dict]:
    """Rows of measures that need a plan; only if a group has plans."""
    rows = []
    for measure in measures:
        sampled = [base.sample(measure), *(group.sample(measure) for group in groups)]
        if any(map(len, sampled)):
            rows.append(_row(_about(measure), sampled, groups, len(measures), seed))
    return rows


def _judged_rows(judge: Client, base: StoryGroup, groups: Sequence[StoryGroup], draws: int, seed: int) -> list[dict]:
    rated = []
    for group in (base, *groups):
        stories = group.stories[:: max(1, len(group.stories) // MAX_JUDGED)][:MAX_JUDGED]
        rated.append((stories, rate_stories(judge, stories, draws)))
    rows = []
    for name in SCALES:
        sampled = [
            Sample.of([one.ratings.get(name, math.nan) for one in ratings], [s.author for s in stories])
            for stories, ratings in rated
        ]
        about = {
            "measure": f"judged: {name.replace('_', ' ')}",
            "unit": "1-5",
            "expected": 1 if name == "explained" else -1,
        }
        rows.append(_row(about, sampled, groups, len(SCALES), seed))
    return rows


def _mean(sample: Sample) -> float | None:
    return float(sample.values.mean()) if len(sample) else None


def _authors(group: StoryGroup) -> int:
    return len({passage.author for passage in group.passages})
