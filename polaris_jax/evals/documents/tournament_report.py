"""The report of a tournament: ratings, results of each pair, and the judges' position bias."""

from collections.abc import Mapping, Sequence
from typing import Any

from polaris_jax.evals.benches.pairwise import count_results, position_bias
from polaris_jax.evals.documents.document import BarChart, Cell, Document, DocumentSection, Table
from polaris_jax.evals.documents.published import published_sections
from polaris_jax.evals.intervals import bootstrap
from polaris_jax.evals.judging.tournament import NAME, Tournament
from polaris_jax.evals.ratings import Game, elo_table, glicko2


def tournament_document(
    tournament: Tournament,
    *,
    facts: Mapping[str, Any],
    anchors: Mapping[str, float] | None = None,
    stretch: bool = False,
    samples: int = 1_000,
    seed: int = 0,
) -> Document:
    """Ratings, results of each pair, and the judges' position bias.

    Args:
      facts: judges, costs, warnings.
      anchors, stretch, samples: of the Elo scale; see ``elo_table``.
    """
    sections = []
    if tournament.games:
        rows = elo_table(tournament.games, anchors=anchors, stretch=stretch, samples=samples, seed=seed)
        glicko = glicko2(tournament.games, seed=seed)
        ratings = Table(
            "Ratings",
            ["model", "Elo", "anchor", "points", "games", "Glicko-2", "deviation"],
            [
                [
                    row.player,
                    row.elo,
                    row.anchor,
                    row.points,
                    round(row.games),
                    glicko[row.player].rating,
                    glicko[row.player].deviation,
                ]
                for row in rows
            ],
            "Elo: Bradley-Terry, 95 % interval over resampled prompts. Glicko-2: one rating period per "
            "prompt, averaged over 50 orders, not anchored.",
        )
        bars = BarChart("Elo", [(row.player, row.elo) for row in rows], zero=min(row.elo.low for row in rows) - 50)
        sections += [
            DocumentSection("Ratings", _scale_note(anchors, stretch), [ratings, bars]),
            DocumentSection(
                "Head to head",
                "Mean points of the row's model against the column's.",
                [_cross_table(tournament.games, [row.player for row in rows])],
            ),
        ]
    sections.append(
        DocumentSection(
            "Judgements",
            "Without position bias, place A gets half of the points when every pair is asked in both orders.",
            _judgement_tables(tournament, seed),
        )
    )
    sections += published_sections(NAME)
    players = sorted({name for game in tournament.games for name in (game.a, game.b)})
    lead = f"{len(tournament.games)} games of {len(players)} models from {len(tournament.judgements)} judgements."
    return Document("Pairwise comparison", lead, sections, facts)


def _scale_note(anchors: Mapping[str, float] | None, stretch: bool) -> str:
    if not anchors:
        return "No anchors were given: the mean of all models is 1500, and 400 points are odds of ten to one."
    named = ", ".join(f"{name} at {rating:g}" for name, rating in anchors.items())
    if stretch:
        return f"Anchors: {named}. The scale is stretched to meet them, so that 400 points are not odds of ten to one."
    return f"Anchors: {named} (their mean is met). 400 points are odds of ten to one."


def _cross_table(games: Sequence[Game], players: Sequence[str]) -> Table:
    points: dict[tuple[str, str], list[float]] = {}
    for game in games:
        points.setdefault((game.a, game.b), []).append(game.score)
        points.setdefault((game.b, game.a), []).append(1 - game.score)
    rows: list[list[Cell]] = [
        [one, *(sum(p) / len(p) if (p := points.get((one, other))) else None for other in players)] for one in players
    ]
    return Table("Mean points against each other", ["model", *players], rows)


def _judgement_tables(tournament: Tournament, seed: int) -> list[Table]:
    judgements = tournament.judgements
    players = sorted({row[place] for row in judgements for place in ("a", "b")})
    results: list[list[Cell]] = [[name, *count_results(judgements, name).values()] for name in players]
    rows: list[list[Cell]] = []
    for judge in dict.fromkeys(record["judge"] for record in tournament.records):
        mine = [row for row in judgements if row["judge"] == judge]
        asked = sum(record["judge"] == judge for record in tournament.records)
        bias = None
        if position_bias(mine) is not None:
            points = [row["score"] - 0.5 for row in mine]
            bias = bootstrap(points, clusters=[row["id"] for row in mine], samples=500, seed=seed)
        rows.append([judge, asked, len(mine), bias, _consistency(mine)])
    return [
        Table("Results per judgement", ["model", "wins", "losses", "ties", "mean difference of signs"], results),
        Table("Judges", ["judge", "judgements", "usable", "position bias (A)", "same winner in both orders"], rows),
    ]


def _consistency(judgements: Sequence[Mapping[str, Any]]) -> float | None:
    """Share of pairs, judged in both orders, whose winner does not depend on the order."""
    winners: dict[tuple, dict[str, float]] = {}
    for row in judgements:
        winners.setdefault((row["id"], row["sample"], *sorted((row["a"], row["b"]))), {})[row["a"]] = row["plus_diff"]
    both = [list(diffs.values()) for diffs in winners.values() if len(diffs) == 2]
    return sum(x * y < 0 or x == y == 0 for x, y in both) / len(both) if both else None
