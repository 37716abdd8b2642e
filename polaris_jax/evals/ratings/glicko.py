"""Glicko-2 (M. Glickman, "Example of the Glicko-2 system", 2022 revision): ratings with a deviation.

A prompt is one rating period: all its games use the ratings before it. Glicko-2 is made for players whose strength
changes. Models do not change, so the result is averaged over random orders of the prompts. Unlike Bradley-Terry it
gives a deviation without resampling, but early games count less.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.evals.ratings.games import Game, players_of

SCALE = 173.7178  # rating points per unit of the internal scale
TAU = 0.5
_EPSILON = 1e-9


@dataclass(frozen=True)
class GlickoPlayer:
    """Rating and deviation in rating points, volatility on the internal scale."""

    rating: float = 1500.0
    deviation: float = 350.0
    volatility: float = 0.06


def rate(player: GlickoPlayer, results: Sequence[tuple[GlickoPlayer, float]], tau: float = TAU) -> GlickoPlayer:
    """The player after one rating period.

    Args:
      results: ``(opponent before the period, score in [0, 1])``; with none, only the deviation grows.
      tau: how fast volatility may change, 0.3 to 1.2.
    """
    mu, phi = (player.rating - 1500) / SCALE, player.deviation / SCALE
    if not results:
        return GlickoPlayer(player.rating, SCALE * math.hypot(phi, player.volatility), player.volatility)
    precision = gain = 0.0
    for opponent, score in results:
        g = 1 / math.sqrt(1 + 3 * (opponent.deviation / SCALE / math.pi) ** 2)
        expected = 1 / (1 + math.exp(-g * (mu - (opponent.rating - 1500) / SCALE)))
        precision += g * g * expected * (1 - expected)
        gain += g * (score - expected)
    variance = 1 / precision
    volatility = _volatility(phi, player.volatility, variance, variance * gain, tau)
    before = math.hypot(phi, volatility)
    after = 1 / math.sqrt(1 / before**2 + precision)
    return GlickoPlayer(1500 + SCALE * (mu + after**2 * gain), SCALE * after, volatility)


def glicko2(
    games: Sequence[Game], *, tau: float = TAU, orders: int = 50, seed: int = 0, start: GlickoPlayer = GlickoPlayer()
) -> dict[str, GlickoPlayer]:
    """Every player's rating, averaged over random orders of the prompts.

    Raises:
      InputError: no games.
    """
    players = players_of(games)
    periods: dict[str, list[Game]] = {}
    for game in games:
        periods.setdefault(game.prompt, []).append(game)
    rng = np.random.default_rng(seed)
    totals = np.zeros((len(players), 3))
    for _ in range(orders):
        now = dict.fromkeys(players, start)
        for index in rng.permutation(len(periods)):
            now = _period(now, list(periods.values())[index], tau)
        totals += [[now[p].rating, now[p].deviation, now[p].volatility] for p in players]
    return {name: GlickoPlayer(*map(float, row)) for name, row in zip(players, totals / orders, strict=True)}


def _period(now: dict[str, GlickoPlayer], games: Sequence[Game], tau: float) -> dict[str, GlickoPlayer]:
    results: dict[str, list[tuple[GlickoPlayer, float]]] = {name: [] for name in now}
    for game in games:
        results[game.a].append((now[game.b], game.score))
        results[game.b].append((now[game.a], 1 - game.score))
    return {name: rate(player, results[name], tau) for name, player in now.items()}


def _volatility(phi: float, sigma: float, variance: float, delta: float, tau: float) -> float:
    """Step 5 of the paper: the root of f by the Illinois variant of regula falsi."""
    start = math.log(sigma**2)

    def f(x: float) -> float:
        grown = phi**2 + variance + math.exp(x)
        return math.exp(x) * (delta**2 - grown) / (2 * grown**2) - (x - start) / tau**2

    a = start
    if delta**2 > phi**2 + variance:
        b = math.log(delta**2 - phi**2 - variance)
    else:
        k = 1
        while f(start - k * tau) < 0:
            k += 1
        b = start - k * tau
    fa, fb = f(a), f(b)
    while abs(b - a) > _EPSILON:
        c = a + (a - b) * fa / (fb - fa)
        fc = f(c)
        if fc * fb <= 0:
            a, fa = b, fb
        else:
            fa /= 2
        b, fb = c, fc
    return math.exp(a / 2)
