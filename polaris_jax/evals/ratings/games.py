"""``Game``, one comparison, and tables of points for the solvers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polaris_jax.errors import InputError


@dataclass(frozen=True)
class Game:
    """One comparison.

    Attributes:
      a, b: the players compared.
      score: points of ``a`` in [0, 1]; ``b`` gets the rest. 0.5 is a draw, 0.75 a narrow win.
      prompt: the prompt of both stories; games on one prompt are resampled together.
    """

    a: str
    b: str
    score: float
    prompt: str = ""

    def __post_init__(self):
        if not 0.0 <= self.score <= 1.0:
            raise InputError("score", self.score, "points of the first player, from 0 (lost) to 1 (won)")
        if self.a == self.b:
            raise InputError("players", self.a, "a player cannot be compared with itself")


def players_of(games: Sequence[Game]) -> list[str]:
    """All players, sorted.

    Raises:
      InputError: no games.
    """
    if not games:
        raise InputError("games", "none", "there is nothing to rate")
    return sorted({name for game in games for name in (game.a, game.b)})


def points_by_prompt(games: Sequence[Game], players: Sequence[str]) -> np.ndarray:
    """``[prompts, n, n]``: entry ``[p, i, j]`` is what player i scored against player j on prompt p."""
    row = {name: index for index, name in enumerate(players)}
    prompts = {name: index for index, name in enumerate(dict.fromkeys(game.prompt for game in games))}
    points = np.zeros((len(prompts), len(players), len(players)))
    for game in games:
        i, j, p = row[game.a], row[game.b], prompts[game.prompt]
        points[p, i, j] += game.score
        points[p, j, i] += 1.0 - game.score
    return points
