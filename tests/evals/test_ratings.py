"""Elo, Bradley-Terry and Glicko-2: planted strengths are recovered, intervals have their coverage, others agree."""

import math

import numpy as np
import pytest

from polaris_jax.errors import InputError
from polaris_jax.evals.ratings import Game, GlickoPlayer, bradley_terry, elo_table, glicko2, rate
from polaris_jax.evals.ratings.games import points_by_prompt


def play(strengths, prompts, rng):
    """Every pair once per prompt, with noise that the pairs of a prompt share; strengths in nats."""
    names = sorted(strengths)
    games = []
    for prompt in range(prompts):
        for i, a in enumerate(names):
            for b in names[i + 1 :]:
                wins = rng.random() < 1 / (1 + math.exp(strengths[b] - strengths[a]))
                games.append(Game(a, b, float(wins), str(prompt)))
    return games


def wins_matrix(rng, n, games):
    points = np.zeros((n, n))
    for _ in range(games):
        i, j = rng.choice(n, 2, replace=False)
        points[i, j] += 1
    return points


def test_bradley_terry_agrees_with_choix():
    choix = pytest.importorskip("choix", reason="pip install choix to compare with it")
    rng = np.random.default_rng(1)
    for ridge in (0.0, 0.5):
        points = wins_matrix(rng, 6, 200)
        data = [(i, j) for i in range(6) for j in range(6) for _ in range(int(points[i, j]))]
        theirs = choix.opt_pairwise(6, data, alpha=ridge, tol=1e-10)
        np.testing.assert_allclose(bradley_terry(points, ridge), theirs - theirs.mean(), atol=1e-5)


def test_bradley_terry_is_logistic_regression_with_fractional_points():
    """Against a general optimiser on the log-likelihood written out."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(2)
    points = rng.random((5, 5)) * 9
    np.fill_diagonal(points, 0)

    def loss(s):
        return -sum(points[i, j] * -np.logaddexp(0, s[j] - s[i]) for i in range(5) for j in range(5)) + 0.1 * s @ s

    theirs = minimize(loss, np.zeros(5), tol=1e-12).x
    np.testing.assert_allclose(bradley_terry(points, 0.1), theirs, atol=1e-4)


def test_many_problems_at_once_are_the_same_as_one_by_one():
    rng = np.random.default_rng(3)
    points = np.stack([wins_matrix(rng, 4, 40) for _ in range(7)])
    together = bradley_terry(points)
    for index in range(7):
        np.testing.assert_allclose(together[index], bradley_terry(points[index]), atol=1e-8)


def test_elo_recovers_planted_strengths():
    rng = np.random.default_rng(4)
    planted = {"a": 1.5, "b": 0.5, "c": 0.0, "d": -0.6, "e": -1.4}
    rows = elo_table(play(planted, 600, rng), samples=0)
    centre = np.mean(list(planted.values()))
    for row in rows:
        assert row.elo.value == pytest.approx(1500 + (planted[row.player] - centre) * 400 / math.log(10), abs=30)
    assert [row.player for row in rows] == ["a", "b", "c", "d", "e"]


def test_elo_intervals_are_calibrated():
    """Of the 95 % intervals of 120 tournaments, about 95 % hold the planted rating (bootstrap is a little narrow)."""
    rng = np.random.default_rng(5)
    planted = {"a": 0.9, "b": 0.2, "c": -0.3, "d": -0.8}
    inside = [
        row.elo.low <= 1500 + planted[row.player] * 400 / math.log(10) <= row.elo.high
        for seed in range(120)
        for row in elo_table(play(planted, 60, rng), samples=300, seed=seed)
    ]
    assert 0.91 <= np.mean(inside) <= 0.98


def test_who_wins_everything_gets_a_finite_rating():
    games = [Game("best", other, 1.0, str(p)) for other in ("x", "y") for p in range(20)] + [Game("x", "y", 0.5, "0")]
    rows = elo_table(games, samples=50)
    assert rows[0].player == "best"
    assert rows[0].elo.value < 3500


def test_anchors_shift_and_stretch():
    games = play({"a": 0.7, "b": 0.0, "c": -0.7}, 200, np.random.default_rng(6))
    free = {row.player: row.elo.value for row in elo_table(games, samples=0)}
    shifted = {row.player: row.elo for row in elo_table(games, anchors={"b": 1000}, samples=50)}
    assert shifted["b"].low == shifted["b"].value == pytest.approx(1000)
    assert shifted["a"].value - shifted["c"].value == pytest.approx(free["a"] - free["c"])
    rows = elo_table(games, anchors={"a": 2000, "c": 1000}, stretch=True, samples=0)
    both = {row.player: row.elo.value for row in rows}
    assert both["a"] == pytest.approx(2000)
    assert both["c"] == pytest.approx(1000)
    with pytest.raises(InputError, match="did not play"):
        elo_table(games, anchors={"nobody": 1})
    with pytest.raises(InputError, match="two anchors"):
        elo_table(games, anchors={"a": 1}, stretch=True)


def test_games_say_what_is_wrong():
    with pytest.raises(InputError, match="score"):
        Game("a", "b", 1.5)
    with pytest.raises(InputError, match="itself"):
        Game("a", "a", 1.0)
    with pytest.raises(InputError, match="nothing to rate"):
        elo_table([])


def test_points_of_a_prompt():
    points = points_by_prompt([Game("b", "a", 0.75, "p"), Game("a", "b", 1.0, "q")], ["a", "b"])
    assert points.tolist() == [[[0, 0.25], [0.75, 0]], [[0, 1.0], [0, 0]]]


def test_glicko_2_paper_example():
    """Glickman's worked example: 1500/200 against three opponents."""
    player = GlickoPlayer(1500, 200, 0.06)
    opponents = [(GlickoPlayer(1400, 30), 1.0), (GlickoPlayer(1550, 100), 0.0), (GlickoPlayer(1700, 300), 0.0)]
    after = rate(player, opponents, tau=0.5)
    assert after.rating == pytest.approx(1464.06, abs=0.01)
    assert after.deviation == pytest.approx(151.52, abs=0.01)
    assert after.volatility == pytest.approx(0.05999, abs=1e-5)


def test_glicko_2_grows_doubt_without_games():
    rested = rate(GlickoPlayer(1500, 200, 0.06), [])
    assert rested.deviation == pytest.approx(math.hypot(200, 0.06 * 173.7178), abs=1e-6)


def test_glicko_2_ranks_like_the_planted_strengths():
    planted = {"a": 1.2, "b": 0.3, "c": -0.4, "d": -1.1}
    ratings = glicko2(play(planted, 100, np.random.default_rng(7)), orders=10)
    assert sorted(ratings, key=lambda name: -ratings[name].rating) == ["a", "b", "c", "d"]
    assert all(player.deviation < 120 for player in ratings.values())
