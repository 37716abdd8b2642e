"""Models against each other: every pair on every prompt in both orders, rated by Bradley-Terry and Glicko-2."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polaris_jax.errors import InputError
from polaris_jax.evals.benches.pairwise import (
    MOST_SIGNS,
    VERSION,
    count_results,
    games,
    pair_ask,
    pairs,
    place_bias,
    read_verdict,
)
from polaris_jax.evals.document import Bars, Document, Section, Table
from polaris_jax.evals.evaluation import Progress
from polaris_jax.evals.generations import Generation
from polaris_jax.evals.intervals import bootstrap
from polaris_jax.evals.judging import Judge, Question, ask_judge
from polaris_jax.evals.published import published_section
from polaris_jax.evals.ratings import Game, elo_table, glicko2

NAME = "pairwise"


@dataclass(frozen=True)
class Tournament:
    """Records of every judgement, and the games they make: one per pair, prompt and judge's panel."""

    records: list[dict]
    games: list[Game]
    stopped: Mapping[str, str]

    @property
    def judgements(self) -> list[dict]:
        """Records with a usable answer."""
        return [record for record in self.records if "scores" in record]


def hold(
    generations: Sequence[Generation], judges: Sequence[Judge], *, samples: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> Tournament:  # fmt: skip
    """Asks every judge about every pair in both orders. An empty story loses against one that is not, unasked.

    Raises:
      InputError: no prompt was answered by two models, or a judge cannot be asked at all.
    """
    asked, unasked = questions(generations, samples)
    records, stopped = [], {}
    for judge in judges:
        judged = ask_judge(asked, judge, lambda done, total, name=judge.name: progress(name, done, total))
        if judged.stopped:
            stopped[judge.name] = judged.stopped
        records += [*judged.records, *({**row, "judge": judge.name, "sample": 0} for row in unasked)]
    return Tournament(records, games([_flat(r) for r in records if "scores" in r]), stopped)


def questions(generations: Sequence[Generation], samples: int = 1) -> tuple[list[Question], list[dict]]:
    """What to ask about every pair, and records of the pairs that an empty story decides.

    Raises:
      InputError: no prompt was answered by two models.
    """
    met = pairs(generations)
    if not met:
        raise InputError("generations", len(generations), "no id has stories of two models: nothing to compare")
    asked, unasked = [], []
    for a, b in (order for first, second in met for order in ((first, second), (second, first))):
        about = {"bench": NAME, "id": a.id, "a": a.model, "b": b.model}
        written = bool(a.story.strip()) - bool(b.story.strip())
        if a.story.strip() and b.story.strip():
            asked += [Question(about, pair_ask(a, b), _read, NAME, VERSION, n) for n in range(samples)]
        else:
            unasked.append(about | {"scores": {"score": 0.5 + 0.5 * written, "plus_diff": MOST_SIGNS * written}})
    return asked, unasked


def tournament_document(
    found: Tournament, *, facts: Mapping[str, Any], anchors: Mapping[str, float] | None = None, stretch: bool = False,
    samples: int = 1_000, seed: int = 0,
) -> Document:  # fmt: skip
    """Ratings, head-to-head results and the judges' bias for a place."""
    sections = []
    if found.games:
        rows = elo_table(found.games, anchors=anchors, stretch=stretch, samples=samples, seed=seed)
        glicko = glicko2(found.games, seed=seed)
        scale = _scale_note(anchors, stretch)
        sections.append(Section("Ratings", scale, [
            Table("Ratings", ["model", "Elo", "anchor", "points", "games", "Glicko-2", "deviation"],
                  [[row.player, row.elo, row.anchor, row.points, round(row.games), glicko[row.player].rating,
                    glicko[row.player].deviation] for row in rows],
                  "Elo: Bradley-Terry, 95 % interval over resampled prompts. Glicko-2: one rating period per prompt, "
                  "averaged over 50 orders, not anchored."),
            Bars("Elo", [(row.player, row.elo) for row in rows], zero=min(row.elo.low for row in rows) - 50),
        ]))  # fmt: skip
        sections.append(Section("Head to head", "Mean points of the row's model against the column's.",
                                [_cross_table(found.games, [row.player for row in rows])]))  # fmt: skip
    sections.append(Section("Judgements", "A judge without a bias for a place gives place A half of the points when "
                            "every pair is asked in both orders.", _judgement_tables(found, seed)))  # fmt: skip
    sections.append(published_section(NAME))
    players = sorted({name for game in found.games for name in (game.a, game.b)})
    lead = f"{len(found.games)} games of {len(players)} models from {len(found.judgements)} judgements."
    return Document("Pairwise comparison", lead, sections, facts)


def _read(text: str) -> dict:
    verdict = read_verdict(text)
    return {"score": verdict.score_a, "plus_diff": verdict.plus_diff, "plus_a": verdict.plus_a,
            "plus_b": verdict.plus_b, "verdict": verdict.verdict}  # fmt: skip


def _flat(record: Mapping[str, Any]) -> dict:
    return {**record, **record["scores"]}


def _scale_note(anchors: Mapping[str, float] | None, stretch: bool) -> str:
    if not anchors:
        return "No anchors were given: the mean of all models is 1500, and 400 points are odds of ten to one."
    named = ", ".join(f"{name} at {rating:g}" for name, rating in anchors.items())
    if stretch:
        return f"Anchors: {named}. The scale is stretched to meet them, so that 400 points are not odds of ten to one."
    return f"Anchors: {named} (their mean is met). 400 points are odds of ten to one."


def _cross_table(played: Sequence[Game], players: Sequence[str]) -> Table:
    points: dict[tuple[str, str], list[float]] = {}
    for game in played:
        points.setdefault((game.a, game.b), []).append(game.score)
        points.setdefault((game.b, game.a), []).append(1 - game.score)
    rows = [[one, *(sum(p) / len(p) if (p := points.get((one, other))) else None for other in players)]
            for one in players]  # fmt: skip
    return Table("Mean points against each other", ["model", *players], rows)


def _judgement_tables(found: Tournament, seed: int) -> list[Table]:
    flat = [_flat(record) for record in found.judgements]
    players = sorted({row[place] for row in flat for place in ("a", "b")})
    results = [[name, *count_results(flat, name).values()] for name in players]
    rows = []
    for judge in dict.fromkeys(record["judge"] for record in found.records):
        mine = [row for row in flat if row["judge"] == judge]
        asked = sum(record["judge"] == judge for record in found.records)
        bias = bootstrap([row["score"] - 0.5 for row in mine], clusters=[row["id"] for row in mine], samples=500,
                         seed=seed) if place_bias(mine) is not None else None  # fmt: skip
        rows.append([judge, asked, len(mine), bias, _consistency(mine)])
    return [
        Table("Results per judgement", ["model", "wins", "losses", "ties", "mean difference of signs"], results),
        Table("Judges", ["judge", "judgements", "usable", "bias for place A", "same winner in both orders"], rows),
    ]


def _consistency(judgements: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of pairs, judged in both orders, whose winner does not depend on the order."""
    winners: dict[tuple, dict[str, float]] = {}
    for row in judgements:
        winners.setdefault((row["id"], row["sample"], *sorted((row["a"], row["b"]))), {})[row["a"]] = row["plus_diff"]
    both = [list(diffs.values()) for diffs in winners.values() if len(diffs) == 2]
    return sum(x * y < 0 or x == y == 0 for x, y in both) / len(both) if both else None
