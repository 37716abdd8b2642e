"""Bradley-Terry strengths on the Elo scale, with anchors and with intervals over resampled prompts."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError
from polaris_jax.evals.intervals import LEVEL, Interval, percentiles
from polaris_jax.evals.ratings.bradley_terry import RIDGE, bradley_terry
from polaris_jax.evals.ratings.games import Game, players_of, points_by_prompt

POINTS_PER_NAT = 400 / math.log(10)  # 400 points are odds of ten to one
CENTRE = 1500.0


@dataclass(frozen=True)
class EloRow:
    """One player's standing; ``points`` of ``games`` played."""

    player: str
    elo: Interval
    points: float
    games: float
    anchor: float | None = None


def elo_table(
    games: Sequence[Game],
    *,
    anchors: Mapping[str, float] | None = None,
    stretch: bool = False,
    ridge: float = RIDGE,
    samples: int = 1_000,
    level: float = LEVEL,
    seed: int = 0,
) -> list[EloRow]:
    """Ratings, best first.

    Args:
      games: a prompt's games are resampled together, because two orders of one comparison are not independent.
      anchors: known ratings of players. The scale is shifted to match their mean; without anchors the mean of all
        players is 1500.
      stretch: with two or more anchors, also scale by least squares to match them, as leaderboards with normalised
        scores do. 400 points are then no longer odds of ten to one.
      samples: bootstrap resamples of the prompts.

    Raises:
      InputError: no games, an anchor that did not play, or a stretch that the anchors do not determine.
    """
    players = players_of(games)
    anchors = dict(anchors or {})
    for name in anchors:
        if name not in players:
            raise InputError("anchors", name, f"did not play; the players are {', '.join(players)}")
    if stretch and len(anchors) < 2:
        raise InputError("stretch", len(anchors), "scaling needs the ratings of two anchors or more")
    by_prompt = points_by_prompt(games, players)
    rng = np.random.default_rng(seed)
    picks = rng.multinomial(len(by_prompt), [1 / len(by_prompt)] * len(by_prompt), size=samples)
    resampled = np.tensordot(picks, by_prompt, axes=1)
    place = _scale(players, anchors, stretch)
    whole = by_prompt.sum(0)
    ratings = place(bradley_terry(whole, ridge))
    draws = place(bradley_terry(resampled, ridge)) if samples else np.zeros((0, len(players)))
    rows = [
        EloRow(
            name,
            Interval(float(ratings[i]), *percentiles(draws[:, i], level, float(ratings[i]))),
            float(whole[i].sum()),
            float(whole[i].sum() + whole[:, i].sum()),
            anchors.get(name),
        )
        for i, name in enumerate(players)
    ]
    return sorted(rows, key=lambda row: -row.elo.value)


def _scale(players: list[str], anchors: dict[str, float], stretch: bool):
    """A function from strengths ``[..., n]`` (nats) to ratings ``[..., n]``."""
    index = [players.index(name) for name in anchors]
    known = np.array(list(anchors.values()))

    def place(strengths: np.ndarray) -> np.ndarray:
        elo = POINTS_PER_NAT * strengths
        if not anchors:
            return elo + CENTRE
        own = elo[..., index]
        centred = own - own.mean(-1, keepdims=True)
        slope = 1.0
        if stretch:
            spread = (centred**2).sum(-1, keepdims=True)
            if not np.all(spread > 0):
                raise InputError("stretch", sorted(anchors), "the anchors are equally strong here: leave it out")
            slope = (centred * (known - known.mean())).sum(-1, keepdims=True) / spread
        return known.mean() + slope * (elo - own.mean(-1, keepdims=True))

    return place
